"""Words in columns of states and uses: which mean an unused key, and which an order to be served."""

import re
from functools import cache, lru_cache

from worker.pools.reading.words import plain, spellings

# Only these mean an unused key, and an empty cell.
UNUSED = {
    "en": "available, unassigned, not assigned, active, issued, new, unused, not used, not yet used,"
    " unredeemed, not redeemed, not yet redeemed, unclaimed, not claimed, undistributed, free, in stock",
    "de": "verfügbar, nicht zugewiesen, unzugewiesen, nicht vergeben, aktiv, ausgestellt, neu, unbenutzt,"
    " ungenutzt, unverwendet, nicht benutzt, nicht genutzt, nicht verwendet, nicht eingelöst,"
    " uneingelöst, noch nicht eingelöst, frei",
    "fr": "disponible, non attribué, non attribuée, non assigné, actif, active, émis, émise, nouveau,"
    " nouvelle, inutilisé, inutilisée, non utilisé, non utilisée, non échangé, libre",
    "es": "disponible, sin asignar, no asignado, no asignada, activo, activa, emitido, emitida, nuevo,"
    " nueva, sin usar, no usado, no usada, no utilizado, no utilizada, sin canjear, no canjeado, libre",
    "it": "disponibile, non assegnato, non assegnata, attivo, attiva, emesso, emessa, nuovo, nuova,"
    " inutilizzato, inutilizzata, non utilizzato, non utilizzata, non usato, non riscattato, libero,"
    " libera",
    "pt": "disponível, não atribuído, não atribuída, por atribuir, ativo, ativa, activo, activa, emitido,"
    " emitida, novo, nova, não usado, não usada, não utilizado, não utilizada, por usar, por utilizar,"
    " não resgatado, livre",
    "nl": "beschikbaar, niet toegewezen, actief, uitgegeven, nieuw, ongebruikt, niet gebruikt,"
    " niet ingewisseld, niet verzilverd, vrij",
    "pl": "dostępny, dostępna, dostępne, nieprzypisany, nieprzypisana, nieprzydzielony, aktywny, aktywna,"
    " aktywne, wydany, wydana, nowy, nowa, nowe, nieużywany, nieużyty, nieużyta, niewykorzystany,"
    " niewykorzystana, niezrealizowany, wolny, wolna",
    "ja": "利用可能, 使用可能, 未割当, 未割り当て, 有効, 発行済み, 発行済, 新規, 未使用, 未利用, 未引換,"
    " 未配布",
    "zh": "可用, 未分配, 有效, 已发行, 已签发, 新, 未使用, 未用, 未兑换, 未领取, 已發行, 未兌換, 未領取",
}

# An order in one of these is served.
SERVED = {
    "en": "paid, complete, completed, fulfilled, unfulfilled, processing, processed, shipped, delivered,"
    " confirmed, approved, active, new, wc-completed, wc-processing",
    "de": "bezahlt, abgeschlossen, erledigt, vollständig, in Bearbeitung, versendet, versandt, geliefert,"
    " bestätigt, genehmigt, aktiv, neu",
    "fr": "payé, payée, terminé, terminée, traité, traitée, en cours de traitement, expédié, expédiée,"
    " livré, livrée, confirmé, confirmée, actif, active, nouveau, nouvelle",
    "es": "pagado, pagada, completado, completada, procesado, procesando, enviado, enviada, entregado,"
    " entregada, confirmado, confirmada, activo, activa, nuevo, nueva",
    "it": "pagato, pagata, completato, completata, evaso, in lavorazione, spedito, spedita, consegnato,"
    " consegnata, confermato, confermata, attivo, attiva, nuovo, nuova",
    "pt": "pago, paga, concluído, concluída, processado, em processamento, enviado, enviada, entregue,"
    " confirmado, confirmada, ativo, ativa, novo, nova",
    "nl": "betaald, voltooid, afgerond, verwerkt, verzonden, geleverd, bevestigd, actief, nieuw",
    "pl": "opłacone, opłacony, zapłacone, zapłacony, zrealizowane, zrealizowany, w realizacji, wysłane,"
    " wysłany, dostarczone, potwierdzone, potwierdzony, aktywne, nowe",
    "ja": "支払済み, 支払済, 支払い済み, 入金済み, 入金済, 完了, 処理中, 発送済み, 発送済, 配達済み, 確定,"
    " 確認済み, 新規",
    "zh": "已付款, 已支付, 已完成, 完成, 处理中, 已发货, 已送达, 已确认, 新, 處理中, 已出貨, 已確認",
}

# An order in one of these gets nothing.
LEFT_OUT = {
    "en": "refunded, refund, cancelled, canceled, voided, void, failed, declined, rejected, returned,"
    " charged back, chargeback, unpaid, not paid, pending, pending payment, payment pending,"
    " awaiting payment, on hold, expired, draft, abandoned, inactive, wc-refunded, wc-cancelled, wc-failed,"
    " wc-pending, wc-on-hold",
    "de": "erstattet, rückerstattet, zurückerstattet, storniert, abgebrochen, fehlgeschlagen, abgelehnt,"
    " zurückgegeben, retourniert, unbezahlt, nicht bezahlt, offen, ausstehend, Zahlung ausstehend,"
    " zurückgestellt, abgelaufen, Entwurf, inaktiv",
    "fr": "remboursé, remboursée, annulé, annulée, échoué, échouée, échec, refusé, refusée, retourné,"
    " retournée, impayé, impayée, non payé, non payée, en attente, en attente de paiement, expiré,"
    " expirée, brouillon, inactif, inactive",
    "es": "reembolsado, reembolsada, cancelado, cancelada, anulado, anulada, fallido, fallida, rechazado,"
    " rechazada, devuelto, devuelta, impagado, no pagado, no pagada, pendiente, pendiente de pago,"
    " en espera, caducado, borrador, inactivo, inactiva",
    "it": "rimborsato, rimborsata, annullato, annullata, cancellato, fallito, fallita, rifiutato,"
    " rifiutata, reso, restituito, non pagato, non pagata, in attesa, in attesa di pagamento, in sospeso,"
    " scaduto, scaduta, bozza, inattivo, inattiva",
    "pt": "reembolsado, reembolsada, cancelado, cancelada, anulado, anulada, falhado, falhou, recusado,"
    " recusada, devolvido, devolvida, não pago, não paga, pendente, aguardando pagamento,"
    " pagamento pendente, em espera, expirado, rascunho, inativo, inativa",
    "nl": "terugbetaald, gerestitueerd, geannuleerd, mislukt, geweigerd, afgewezen, geretourneerd,"
    " onbetaald, niet betaald, openstaand, in afwachting, in de wacht, wacht op betaling, verlopen,"
    " concept, inactief",
    "pl": "zwrócone, zwrócony, zwrot, anulowane, anulowany, nieudane, odrzucone, odrzucony, nieopłacone,"
    " nieopłacony, oczekujące, oczekuje na płatność, wstrzymane, wygasłe, szkic, nieaktywne",
    "ja": "返金済み, 返金済, 返金, キャンセル, キャンセル済み, キャンセル済, 取消, 取消済み, 失敗, 拒否, 返品,"
    " 未払い, 未払, 未入金, 保留, 保留中, 支払い待ち, 期限切れ, 下書き, 無効",
    "zh": "已退款, 退款, 已取消, 取消, 失败, 失敗, 已拒绝, 已退货, 未付款, 待付款, 待支付, 待处理, 暂停,"
    " 已过期, 草稿, 无效, 已拒絕, 已退貨, 待處理, 無效",
}

# Use counts that mean no use: a zero, or a word for no.
NO_USES = {
    "en": "no, never, none, false, not used, unused, not redeemed, unredeemed, n/a",
    "de": "nein, nie, keine, falsch, nicht eingelöst, unbenutzt",
    "fr": "non, jamais, aucune, aucun, faux, non utilisé",
    "es": "no, nunca, ninguno, ninguna, falso, sin usar",
    "it": "no, mai, nessuno, nessuna, falso, non usato",
    "pt": "não, nunca, nenhum, nenhuma, falso, não usado",
    "nl": "nee, nooit, geen, onwaar, niet gebruikt",
    "pl": "nie, nigdy, brak, fałsz, nieużyty",
    "ja": "いいえ, なし, 無し, 未使用",
    "zh": "否, 无, 無, 未使用",
}

KEPT = 1024  # answers; a file may have a different cell on every line
ZERO = re.compile("[0０]+([.,]0+)?|[-–—]")


@cache
def _words(name: str) -> frozenset[str]:
    tables = {"unused": UNUSED, "served": SERVED, "left out": LEFT_OUT, "no uses": NO_USES}
    return frozenset().union(*(spellings(words) for words in tables[name].values()))


@lru_cache(KEPT)
def says_unused(state: str) -> bool:
    """Say whether a key's state means that nobody used it; an empty one does."""
    return not state or plain(state) in _words("unused")


@lru_cache(KEPT)
def says_no_uses(uses: str) -> bool:
    """Say whether a cell under a count of uses means none; an empty one does."""
    return not uses or bool(ZERO.fullmatch(uses)) or plain(uses) in _words("no uses")


@lru_cache(KEPT)
def is_served(state: str) -> bool | None:
    """Say whether an order in a state is served; None where the word is not known."""
    word = plain(state)
    if not word or word in _words("served"):
        return True
    return False if word in _words("left out") else None
