"""Known headings of columns, in ten languages, compared regardless of spelling.

docs/keys.md shows this table, and a test compares the two. A word is found in any letter case, with or
without accents, spaces and signs, and with what stands in brackets behind it left away.
"""

import re
import unicodedata
from enum import StrEnum
from functools import cache


class Meaning(StrEnum):
    """The meanings of a table's columns."""

    CODE = "code"
    RECIPIENT = "recipient"
    EMAIL = "email"
    NAME = "name"
    FIRSTNAME = "firstname"
    LASTNAME = "lastname"
    REFERENCE = "reference"
    COUNT = "count"
    STATE = "state"
    USES = "uses"
    LABELS = "labels"


LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ja", "zh")

HEADINGS: dict[Meaning, dict[str, str]] = {
    Meaning.CODE: {
        "en": "code, codes, key, keys, key code, training key, training keys, training code,"
        " undistributed key, undistributed keys, access code, access codes, access key, access keys,"
        " activation code, activation key, registration code, registration key, enrolment code,"
        " enrolment key, enrollment code, enrollment key, course key, learning key, unlock code,"
        " voucher, vouchers, voucher code, voucher codes, voucher number, coupon, coupons, coupon code,"
        " coupon codes, promo code, promotion code, gift code, invitation code, invite code,"
        " redemption code, redeem code, license key, licence key, license code, licence code,"
        " license number, licence number, product key, serial, serial number, serial no",
        "de": "Code, Codes, Schlüssel, Schlüsselcode, Zugangscode, Zugangscodes, Zugangsschlüssel,"
        " Zugriffscode, Aktivierungscode, Aktivierungsschlüssel, Freischaltcode, Freischaltschlüssel,"
        " Einschreibeschlüssel, Registrierungscode, Registrierungsschlüssel, Teilnahmecode, Einlösecode,"
        " Trainingsschlüssel, Schulungsschlüssel, Schulungscode, Kursschlüssel, Gutschein, Gutscheine,"
        " Gutscheincode, Gutscheincodes, Gutscheinnummer, Lizenzschlüssel, Lizenzcode, Lizenznummer,"
        " Produktschlüssel, Seriennummer, Einladungscode",
        "fr": "code, codes, clé, clés, clef, clefs, code d'accès, codes d'accès, clé d'accès,"
        " code d'activation, clé d'activation, code d'inscription, clé d'inscription,"
        " code d'enregistrement, code de formation, clé de formation, code promo, code cadeau,"
        " code d'invitation, bon, bon d'achat, code du bon, coupon, code coupon, clé de licence,"
        " code de licence, numéro de licence, clé de produit, numéro de série",
        "es": "código, códigos, clave, claves, código de acceso, códigos de acceso, clave de acceso,"
        " código de activación, clave de activación, código de inscripción, clave de inscripción,"
        " código de registro, clave de registro, código de formación, código de canje,"
        " código promocional, código de invitación, cupón, cupones, código de cupón, vale, bono,"
        " clave de licencia, código de licencia, número de licencia, clave de producto,"
        " número de serie",
        "it": "codice, codici, chiave, chiavi, codice di accesso, codici di accesso, chiave di accesso,"
        " codice di attivazione, chiave di attivazione, codice di iscrizione, chiave di iscrizione,"
        " codice di registrazione, codice di riscatto, codice promozionale, codice di invito, buono,"
        " buoni, codice buono, codice coupon, codice voucher, chiave di licenza, codice di licenza,"
        " numero di licenza, chiave di prodotto, numero di serie",
        "pt": "código, códigos, chave, chaves, código de acesso, códigos de acesso, chave de acesso,"
        " código de ativação, chave de ativação, código de inscrição, chave de inscrição,"
        " código de registo, código de registro, código de resgate, código promocional,"
        " código de convite, cupom, cupons, cupão, cupões, código do cupom, vale,"
        " chave de licença, código de licença, número de licença, chave do produto, número de série",
        "nl": "code, codes, sleutel, sleutels, toegangscode, toegangscodes, toegangssleutel,"
        " activeringscode, activatiecode, activeringssleutel, inschrijfcode, inschrijfsleutel,"
        " registratiecode, trainingssleutel, trainingscode, inwisselcode, uitnodigingscode,"
        " vouchercode, vouchercodes, voucher, vouchers, tegoedbon, couponcode, licentiesleutel,"
        " licentiecode, licentienummer, productsleutel, serienummer",
        "pl": "kod, kody, klucz, klucze, kod dostępu, kody dostępu, klucz dostępu, kod aktywacyjny,"
        " kod aktywacji, klucz aktywacyjny, klucz aktywacji, kod rejestracyjny, klucz rejestracyjny,"
        " kod szkolenia, klucz szkolenia, kod promocyjny, kod zaproszenia, kupon, kupony, kod kuponu,"
        " voucher, vouchery, kod vouchera, klucz licencyjny, klucz licencji, kod licencyjny,"
        " numer licencji, klucz produktu, numer seryjny",
        "ja": "コード, キー, アクセスコード, アクセスキー, アクティベーションコード,"
        " アクティベーションキー, 有効化コード, 受講コード, 受講キー, 登録コード, 登録キー, 利用コード,"
        " 認証コード, 引換コード, 招待コード, クーポン, クーポンコード, バウチャー, バウチャーコード,"
        " ライセンスキー, ライセンスコード, ライセンス番号, プロダクトキー, シリアル番号,"
        " シリアルコード, シリアルナンバー, シリアルキー",
        "zh": "代码, 密钥, 激活码, 激活密钥, 访问码, 访问代码, 访问密钥, 注册码, 注册密钥, 兑换码, 学习码,"
        " 课程密钥, 培训密钥, 授权码, 许可证密钥, 许可证号, 邀请码, 优惠码, 优惠券, 优惠券代码, 产品密钥,"
        " 序列号, 卡密, 代碼, 金鑰, 密鑰, 啟用碼, 啟用金鑰, 存取碼, 註冊碼, 兌換碼, 授權碼, 授權金鑰,"
        " 邀請碼, 優惠碼, 優惠券代碼, 產品金鑰, 序號, 序列號",
    },
    Meaning.RECIPIENT: {
        "en": "recipient, recipients, assigned to, assignee, distributed to, issued to, given to,"
        " handed to, handed out to, sent to, learner, participant, attendee, student, trainee",
        "de": "Empfänger, Empfängerin, Empfänger/in, Teilnehmer, Teilnehmerin, Teilnehmer/in,"
        " Teilnehmende, Teilnehmende Person, Lernende, Lernender, Kursteilnehmer, zugewiesen an,"
        " ausgegeben an, vergeben an, verteilt an",
        "fr": "destinataire, bénéficiaire, participant, participante, apprenant, apprenante, stagiaire,"
        " élève, attribué à, attribuée à, remis à, envoyé à",
        "es": "destinatario, destinataria, beneficiario, beneficiaria, participante, alumno, alumna,"
        " estudiante, asignado a, asignada a, entregado a, enviado a",
        "it": "destinatario, destinataria, beneficiario, beneficiaria, partecipante, studente,"
        " studentessa, allievo, allieva, corsista, assegnato a, assegnata a, consegnato a, inviato a",
        "pt": "destinatário, destinatária, beneficiário, beneficiária, participante, aluno, aluna,"
        " formando, formanda, atribuído a, atribuída a, entregue a, enviado a, enviado para",
        "nl": "ontvanger, begunstigde, deelnemer, deelneemster, cursist, student, leerling,"
        " toegewezen aan, uitgegeven aan, verstrekt aan, verzonden aan",
        "pl": "odbiorca, odbiorczyni, adresat, uczestnik, uczestniczka, kursant, kursantka, student,"
        " przypisany do, przypisano do, przydzielony do, wydany dla, wysłano do",
        "ja": "受取人, 受信者, 宛先, 受講者, 受講生, 参加者, 学習者, 利用者, 配布先, 割当先, 割り当て先,"
        " 発行先, 送付先",
        "zh": "收件人, 接收人, 接收者, 领取人, 学员, 学生, 参与者, 分配给, 发放给, 发送给, 接收方, 領取人,"
        " 學員, 學生, 參與者, 分配給, 發放給, 發送給",
    },
    Meaning.EMAIL: {
        "en": "email, e-mail, mail, email address, e-mail address, mail address, email id,"
        " recipient email, recipient e-mail, recipient email address, learner email, participant email,"
        " attendee email, student email, user email, customer email, buyer email, contact email,"
        " work email, business email, billing email",
        "de": "E-Mail, Mail, E-Mail-Adresse, E-Mail-Adressen, Mailadresse, Mail-Adresse,"
        " E-Mail Empfänger, Empfänger-E-Mail, E-Mail des Empfängers, E-Mail-Adresse des Empfängers,"
        " Teilnehmer-E-Mail, E-Mail Teilnehmer, Kunden-E-Mail, E-Mail geschäftlich, Rechnungs-E-Mail",
        "fr": "e-mail, mail, mél, courriel, adresse e-mail, adresse mail, adresse électronique,"
        " adresse courriel, adresse de courriel, adresse de messagerie, e-mail du destinataire,"
        " e-mail du participant, e-mail du client, courrier électronique",
        "es": "e-mail, correo, correo-e, correo electrónico, dirección de correo,"
        " dirección de correo electrónico, dirección de e-mail, e-mail del destinatario,"
        " correo del destinatario, correo del participante, correo del alumno, correo del cliente",
        "it": "e-mail, mail, posta elettronica, indirizzo e-mail, indirizzo mail,"
        " indirizzo di posta elettronica, indirizzo di posta, e-mail del destinatario,"
        " e-mail destinatario, e-mail partecipante, e-mail cliente",
        "pt": "e-mail, correio eletrónico, correio eletrônico, endereço de e-mail,"
        " endereço eletrónico, endereço eletrônico, endereço de correio eletrónico,"
        " e-mail do destinatário, e-mail do participante, e-mail do cliente",
        "nl": "e-mail, mail, e-mailadres, e-mail adres, mailadres, e-mail ontvanger,"
        " e-mailadres ontvanger, e-mail deelnemer, e-mailadres deelnemer, e-mail klant,"
        " elektronische post",
        "pl": "e-mail, mail, adres e-mail, adres mailowy, adres poczty elektronicznej,"
        " poczta elektroniczna, poczta, e-mail odbiorcy, e-mail uczestnika, e-mail klienta",
        "ja": "メール, Eメール, 電子メール, メールアドレス, Eメールアドレス, 電子メールアドレス, メアド,"
        " 受講者メール, 受講者メールアドレス, 送付先メールアドレス, 連絡先メールアドレス",
        "zh": "邮箱, 邮件, 电邮, 电子邮箱, 电子邮件, 邮箱地址, 邮件地址, 电子邮件地址, 电子邮箱地址,"
        " 收件人邮箱, 学员邮箱, 郵箱, 郵件, 電郵, 電子郵箱, 電子郵件, 郵箱地址, 郵件地址, 電子郵件地址,"
        " 電子信箱, 信箱, 電郵地址",
    },
    Meaning.NAME: {
        "en": "name, full name, display name, recipient name, learner name, participant name,"
        " attendee name, student name, user's name, customer name, buyer name, contact name",
        "de": "Name, vollständiger Name, voller Name, Anzeigename, Empfängername, Name des Empfängers,"
        " Teilnehmername, Name des Teilnehmers, Kundenname, Vor- und Nachname, Vorname und Nachname,"
        " Vorname Nachname, Nachname Vorname, Vor- und Zuname",
        "fr": "nom, nom complet, nom et prénom, prénom et nom, nom prénom, prénom nom,"
        " nom du destinataire, nom du participant, nom du client, nom affiché",
        "es": "nombre, nombre completo, nombre y apellidos, nombre y apellido, apellidos y nombre,"
        " nombre del destinatario, nombre del participante, nombre del alumno, nombre del cliente",
        "it": "nome, nome completo, nome e cognome, cognome e nome, nominativo,"
        " nome del destinatario, nome destinatario, nome del partecipante, nome partecipante,"
        " nome del cliente",
        "pt": "nome, nome completo, nome e apelido, nome e sobrenome, nome do destinatário,"
        " nome do participante, nome do aluno, nome do cliente",
        "nl": "naam, volledige naam, weergavenaam, naam ontvanger, naam van de ontvanger,"
        " naam deelnemer, naam van de deelnemer, naam klant, klantnaam, voor- en achternaam",
        "pl": "imię i nazwisko, nazwisko i imię, pełne imię i nazwisko, pełna nazwa, nazwa odbiorcy,"
        " imię i nazwisko odbiorcy, imię i nazwisko uczestnika, nazwa klienta",
        "ja": "名前, 氏名, お名前, フルネーム, 表示名, 受講者名, 受講者氏名, 受取人名, 参加者名, 利用者名,"
        " 顧客名, 宛名",
        "zh": "姓名, 名字, 名称, 全名, 显示名称, 收件人姓名, 学员姓名, 参与者姓名, 客户姓名, 名稱,"
        " 顯示名稱, 學員姓名, 客戶姓名",
    },
    Meaning.FIRSTNAME: {
        "en": "first name, given name, given names, forename, forenames, christian name",
        "de": "Vorname, Vornamen, Rufname",
        "fr": "prénom, prénoms",
        "es": "nombre de pila, primer nombre, nombres",
        "it": "nome di battesimo, primo nome",
        "pt": "primeiro nome, nome próprio, nomes próprios",
        "nl": "voornaam, voornamen, roepnaam",
        "pl": "imię, imiona",
        "ja": "名, ファーストネーム",
        "zh": "名",
    },
    Meaning.LASTNAME: {
        "en": "last name, surname, family name",
        "de": "Nachname, Nachnamen, Familienname, Zuname",
        "fr": "nom de famille",
        "es": "apellido, apellidos",
        "it": "cognome, cognomi",
        "pt": "sobrenome, apelido, apelidos, último nome, nome de família",
        "nl": "achternaam, familienaam",
        "pl": "nazwisko, nazwiska",
        "ja": "姓, 苗字, ラストネーム",
        "zh": "姓, 姓氏",
    },
    Meaning.REFERENCE: {
        "en": "reference, references, ref, ref no, reference no, reference number, your reference,"
        " customer reference, order, order no, order number, order id, order ref, order reference,"
        " PO, PO no, PO number, purchase order, purchase order no, purchase order number, sales order,"
        " sales order number, booking, booking number, booking reference",
        "de": "Referenz, Referenznummer, Kundenreferenz, Bestellung, Bestellnummer, Bestell-Nr.,"
        " Bestellnr., Bestell-ID, Bestellreferenz, Auftrag, Auftragsnummer, Auftrags-Nr., Auftragsnr.,"
        " Auftrags-ID, PO-Nummer, Buchung, Buchungsnummer, Ihr Zeichen",
        "fr": "référence, réf., n° de référence, numéro de référence, commande, n° de commande,"
        " nº de commande, no de commande, n° commande, num commande, numéro de commande,"
        " référence de commande, référence commande, bon de commande, n° de bon de commande,"
        " numéro de bon de commande",
        "es": "referencia, ref., número de referencia, pedido, n° de pedido, nº de pedido, n.º de pedido,"
        " nº pedido, núm. de pedido, número de pedido, número pedido, referencia del pedido, orden,"
        " número de orden, orden de compra, nº de orden, número de orden de compra",
        "it": "riferimento, rif., numero di riferimento, ordine, n. ordine, n° ordine, nº ordine,"
        " numero ordine, numero d'ordine, numero dell'ordine, riferimento ordine,"
        " riferimento dell'ordine, ordine di acquisto, ordine d'acquisto, numero ordine di acquisto",
        "pt": "referência, ref., número de referência, pedido, n° do pedido, nº do pedido, n.º do pedido,"
        " número do pedido, encomenda, n° da encomenda, nº da encomenda, n.º de encomenda,"
        " número da encomenda, número de encomenda, ordem de compra, número da ordem de compra,"
        " referência da encomenda",
        "nl": "referentie, referentienummer, kenmerk, uw referentie, uw kenmerk, order, ordernummer,"
        " ordernr., bestelling, bestelnummer, bestelnr., inkooporder, inkoopordernummer, boekingsnummer",
        "pl": "referencja, referencje, numer referencyjny, nr referencyjny, zamówienie,"
        " numer zamówienia, nr zamówienia, nr zam., zamówienie nr, numer PO",
        "ja": "参照, 参照番号, 注文, 注文番号, 注文ID, 注文書番号, 発注番号, 発注書番号, 受注番号,"
        " オーダー番号, オーダーID, 予約番号, 申込番号",
        "zh": "参考, 参考号, 参考编号, 订单, 订单号, 订单编号, 订单ID, 采购订单, 采购订单号, 采购单号,"
        " 參考, 參考號, 參考編號, 訂單, 訂單號, 訂單編號, 採購訂單, 採購訂單號, 採購單號",
    },
    Meaning.COUNT: {
        "en": "count, quantity, qty, lineitem quantity, line item quantity, item quantity,"
        " order quantity, ordered quantity, units, seats, seat count, number of seats, places,"
        " number of places, licenses, licences, license count, licence count, number of licenses,"
        " number of licences, key count, number of keys, no of keys, number of codes, how many",
        "de": "Anzahl, Anz., Menge, Bestellmenge, Stück, Stückzahl, Plätze, Anzahl Plätze,"
        " Anzahl der Plätze, Lizenzen, Lizenzanzahl, Anzahl Lizenzen, Anzahl der Lizenzen,"
        " Schlüsselanzahl, Anzahl Schlüssel, Anzahl der Schlüssel, Anzahl Codes, Anzahl der Codes",
        "fr": "quantité, quantité commandée, qté, nbre, nb, places, nombre de places, licences,"
        " nombre de licences, nb de licences, nombre de clés, nb de clés, nombre de codes",
        "es": "cantidad, cantidad pedida, cant., unidades, plazas, número de plazas, licencias,"
        " número de licencias, número de claves, número de códigos, cantidad de claves",
        "it": "quantità, quantità ordinata, q.tà, qtà, unità, pezzi, posti, numero di posti, licenze,"
        " numero di licenze, numero di chiavi, numero di codici",
        "pt": "quantidade, quantidade pedida, qtd., qtde., qde., unidades, lugares, número de lugares,"
        " licenças, número de licenças, número de chaves, número de códigos",
        "nl": "aantal, hoeveelheid, besteld aantal, stuks, plaatsen, aantal plaatsen, licenties,"
        " aantal licenties, aantal sleutels, aantal codes",
        "pl": "ilość, liczba, sztuk, sztuki, szt., miejsca, liczba miejsc, licencje, liczba licencji,"
        " ilość licencji, liczba kluczy, ilość kluczy, liczba kodów, ilość kodów",
        "ja": "数量, 個数, 数, 本数, 注文数, 注文数量, 席数, ライセンス数, キー数, キーの数, コード数",
        "zh": "数量, 个数, 份数, 套数, 订购数量, 席位, 席位数, 许可证数量, 密钥数量, 代码数量, 數量, 個數,"
        " 份數, 訂購數量, 席位數, 授權數量, 金鑰數量",
    },
    Meaning.STATE: {
        "en": "state, status, key state, key status, code status, voucher status, coupon status,"
        " availability, order status, order state, payment status, financial status,"
        " fulfillment status, fulfilment status",
        "de": "Status, Zustand, Schlüsselstatus, Codestatus, Verfügbarkeit, Bestellstatus,"
        " Auftragsstatus, Zahlungsstatus",
        "fr": "statut, état, disponibilité, statut de la commande, état de la commande,"
        " statut du paiement, statut de paiement",
        "es": "estado, estatus, situación, disponibilidad, estado del pedido, estado del pago,"
        " estado de la orden",
        "it": "stato, disponibilità, stato ordine, stato dell'ordine, stato del pagamento,"
        " stato pagamento",
        "pt": "estado, status, situação, disponibilidade, estado da encomenda, estado do pedido,"
        " status do pedido, estado do pagamento, status do pagamento",
        "nl": "status, toestand, beschikbaarheid, orderstatus, bestelstatus, betaalstatus,"
        " betalingsstatus",
        "pl": "status, stan, dostępność, status zamówienia, stan zamówienia, status płatności",
        "ja": "状態, ステータス, 状況, 利用状況, 注文状況, 支払い状況, 支払状況, 決済状況",
        "zh": "状态, 状况, 可用性, 订单状态, 付款状态, 支付状态, 狀態, 狀況, 訂單狀態, 付款狀態",
    },
    Meaning.USES: {
        "en": "uses, used, used?, usage, usages, usage count, use count, times used, number of uses,"
        " current uses, uses so far, redeemed, redeemed?, redemptions, redemption count,"
        " times redeemed, number of redemptions, activations, activation count, claimed, claims,"
        " used on, used at, date used, redeemed on, redeemed at, redemption date, claimed at",
        "de": "Einlösungen, Anzahl Einlösungen, Anzahl der Einlösungen, eingelöst, eingelöst am,"
        " Einlösedatum, Nutzungen, Anzahl Nutzungen, genutzt, benutzt, Verwendungen,"
        " Anzahl Verwendungen, verwendet, verwendet am, Aktivierungen",
        "fr": "utilisations, nombre d'utilisations, nb d'utilisations, utilisé, utilisée, utilisé le,"
        " déjà utilisé, date d'utilisation, activations, échangé",
        "es": "usos, número de usos, usado, usada, utilizado, utilizada, utilizado el, fecha de uso,"
        " canjes, número de canjes, canjeado, canjeada, fecha de canje, activaciones",
        "it": "utilizzi, numero di utilizzi, usi, numero di usi, usato, usata, utilizzato, utilizzata,"
        " riscatti, riscattato, riscattata, data di utilizzo, attivazioni",
        "pt": "usos, número de usos, utilizações, número de utilizações, usado, usada, utilizado,"
        " utilizada, resgates, resgatado, resgatada, data de utilização, ativações",
        "nl": "gebruikt, aantal keer gebruikt, aantal keren gebruikt, gebruik, gebruikt op,"
        " inwisselingen, ingewisseld, verzilverd, verzilveringen, activeringen",
        "pl": "użycia, użyć, liczba użyć, ilość użyć, użyto, użyty, wykorzystania, wykorzystano,"
        " wykorzystany, liczba wykorzystań, data użycia, zrealizowano, realizacje, aktywacje",
        "ja": "使用回数, 利用回数, 使用数, 使用済み, 使用済, 利用済み, 利用済, 引換済み, 使用日, 利用日",
        "zh": "使用次数, 已用次数, 已使用, 已用, 已使用次数, 兑换次数, 已兑换, 使用日期, 兑换日期, 使用次數,"
        " 已使用次數, 兌換次數, 已兌換",
    },
    Meaning.LABELS: {
        "en": "label, labels, tag, tags",
        "de": "Etikett, Etiketten, Schlagwort, Schlagwörter, Schlagworte, Stichwort, Stichwörter",
        "fr": "étiquette, étiquettes, libellés, mots-clés",
        "es": "etiqueta, etiquetas, palabras clave",
        "it": "etichetta, etichette, parole chiave",
        "pt": "etiqueta, etiquetas, rótulo, rótulos, palavras-chave",
        "nl": "label, labels, trefwoord, trefwoorden",
        "pl": "etykieta, etykiety, tagi, słowa kluczowe",
        "ja": "ラベル, タグ",
        "zh": "标签, 標籤",
    },
}

# Headings that stand above keys or names, and, where only small numbers are below, above counts.
COUNTS_TOO = (
    "keys, codes, training keys, access codes, access keys, vouchers, coupons, Schlüssel, Zugangscodes,"
    " Gutscheine, clés, clefs, codes d'accès, nombre, claves, códigos, códigos de acceso, cupones, chiavi,"
    " codici, codici di accesso, buoni, chaves, códigos de acesso, cupons, sleutels, toegangscodes,"
    " klucze, kody, kupony, キー, コード, 密钥, 代码, 激活码, 金鑰, 代碼"
)

# What keypool's own exports have beside a code, a state, a recipient and a reference.
OURS = (
    "distributed_at, redeemed_by_email, redeemed_by_name, redeemed_by_organization, redeemed_at,"
    " access_expires_at"
)

ACCENTS = re.compile("[\u0300-\u036f]")
SPELLED_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
FOLDED = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "’": "", "'": ""})
BRACKETS = re.compile(r"[(\[（【][^(\[（【)\]）】]*[)\]）】]")


def plain(words: str) -> str:
    """Normalize words: without case, accents, spaces and signs."""
    if not words.isascii():
        bare = ACCENTS.sub("", unicodedata.normalize("NFKD", words.casefold()))
        words = unicodedata.normalize("NFC", bare).casefold().translate(FOLDED)
    return "".join(character for character in words.lower() if character.isalnum())


def listed(words: str) -> list[str]:
    """Give the words of a list as it stands in this table."""
    return [word.strip() for word in words.split(",")]


def spellings(words: str) -> set[str]:
    """Give every plain spelling of the words of a list, with German umlauts as two letters, too."""
    return {
        plain(spelled) for word in listed(words) for spelled in (word, word.translate(SPELLED_OUT))
    }


def meaning_of(heading: str) -> Meaning | None:
    """Give a column's meaning by its heading; None if the heading is unknown."""
    known = _known()
    return known.get(plain(heading)) or known.get(plain(BRACKETS.sub("", heading)))


def meanings_of(headings: list[str]) -> list[Meaning | None]:
    """Say what each column of a table holds; several may hold keys where they are numbered (Key 1, Key 2)."""
    bare = [plain(heading) for heading in headings]
    numbered = {
        f"{name}{number}"
        for name in (word.removesuffix("1") for word in bare if word.endswith("1"))
        if meaning_of(name) is Meaning.CODE and f"{name}2" in bare
        for number in range(1, len(bare) + 1)
    }
    return [
        Meaning.CODE if word in numbered else meaning_of(heading)
        for word, heading in zip(bare, headings, strict=True)
    ]


def is_exactly(heading: str) -> bool:
    """Say whether a heading is known as it is spelled, with each accent where it belongs."""
    return heading.casefold() in _exact()


def is_ours(heading: str) -> bool:
    """Say whether a heading is one of keypool's own exports that an import has no use for."""
    return plain(heading) in spellings(OURS)


@cache
def _exact() -> frozenset[str]:
    languages = (words for meaning in HEADINGS.values() for words in meaning.values())
    return frozenset(word.casefold() for words in languages for word in listed(words))


@cache
def _known() -> dict[str, Meaning]:
    known: dict[str, Meaning] = {}
    for meaning, languages in HEADINGS.items():
        for words in languages.values():
            for spelled in spellings(words):
                known.setdefault(spelled, meaning)
    return known
