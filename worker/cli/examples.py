"""Two examples of every command, by its words: shown below its help."""

import re
import textwrap
from collections.abc import Iterator, Sequence

QUOTED = re.compile('"[^"]*"')  # a line is not broken in one

OF_ONE_WORD = {"up", "demo", "simulate", "send", "audit", "completion"}
TEXT = r"""
up
up --host 0.0.0.0 --port 9000
demo
demo --keys 5000 --redemptions 2000 -o demo
simulate --organizations 3 --months 6 --redemptions 500
simulate --organizations 14 --months 24 --redemptions 20000 --seed 7
db check
db check --webs 4 --children 8
db init
db init --json
db upgrade --dry-run
db upgrade
secrets reencrypt
secrets reencrypt --json
completion bash
completion zsh
organizations add "Acme Academy" --time-zone Europe/Berlin --currency EUR --tax-rate 19
organizations add "Acme Berlin" --parent "Acme Academy"
organizations edit "Acme Academy" --tax-rate 20 --tax-from 2027-01-01
organizations edit "Acme Academy" --redeem-page open --support-email help@acme.example
organizations list
organizations list --json
organizations shared-pools "Acme Berlin"
organizations shared-pools "Acme Berlin" --json
organizations shared-redemptions "Acme Berlin" "Autumn 2026"
organizations shared-redemptions "Acme Berlin" "Autumn 2026" --json
organizations show "Acme Academy"
organizations show 1 --json
organizations single-sign-on "Acme Academy"
organizations single-sign-on "Acme Academy" --issuer https://login.acme.example --client-id
    keypool --client-secret s3cret --domain acme.example
courses add K8S-101 "Kubernetes for the curious" --price 49.90 --currency EUR
courses add GIT-1 "Git" --price 0 --currency EUR --launch-url https://labs.example/git
courses archive K8S-101
courses archive K8S-101 --json
courses edit K8S-101 --title "Kubernetes, first steps"
courses edit K8S-101 --launch-url https://labs.example/start --new-launch-secret
courses list --search kubernetes
courses list --sort code --limit 20
prices list --course K8S-101
prices list --organization "Acme Academy"
prices set K8S-101 --price 52.00 --from 2027-01-01
prices set K8S-101 --organization "Acme Academy" --price 39.90
prices withdraw 12
prices withdraw 12 --from 2027-07-01
seller edit --name "Keys GmbH" --street "Kai 1" --postcode 20457 --city Hamburg --country DE
seller edit --bank EUR=DE89370400440532013000 --account revenue=8400
seller show
seller show --json
sources add shop --organization "Acme Academy"
sources add portal --organization "Acme Berlin" --json
sources list
sources list --json
sources requests shop
sources requests 1 --json
sources show shop
sources show 1 --json
sources rotate shop
sources rotate shop --old-valid 7d
tokens add reporting --role analyst --organization "Acme Academy"
tokens add nightly --role operator --until 2027-06-30
tokens list
tokens list --json
tokens revoke 3
tokens revoke reporting
users add boss@example.org --role operator
users add ann@example.org --role manager --organization "Acme Academy"
users disable ann@example.org
users disable ann@example.org --json
users enable ann@example.org
users enable ann@example.org --json
users invite boss@example.org --role operator
users invite ann@example.org --role finance --organization "Acme Academy"
users list
users list --json
users reset ann@example.org
users reset ann@example.org --json
users reset-second-factor ann@example.org
users reset-second-factor ann@example.org --json
sessions end 4
sessions end 4 --json
sessions list
sessions list --user ann@example.org
endpoints add https://portal.example/hooks --organization "Acme Academy"
endpoints add https://portal.example/hooks --organization "Acme Academy" --types pool.low
    --pool-low 50
endpoints deliveries 1 --failed
endpoints deliveries 1 --since 2026-11-01
endpoints edit 1 --url https://portal.example/keypool
endpoints edit 1 --types pool.low,pool.expiring --pool-expiring 14
endpoints list
endpoints list --failing
endpoints pause 1
endpoints pause https://portal.example/hooks
endpoints ping 1
endpoints ping 1 pool.low
endpoints remove 1
endpoints remove https://portal.example/hooks
endpoints resend 1 --failed
endpoints resend 1 17 18
endpoints resume 1
endpoints resume https://portal.example/hooks
endpoints rotate 1
endpoints rotate 1 --old-valid 7d
endpoints show 17
endpoints show 17 --json
pools charges "Autumn 2026"
pools charges 1 --json
pools create --name "Autumn 2026" --organization "Acme Academy" --course K8S-101 --starts
    2026-09-01 --expires 2026-12-31 --content-availability 180
pools create --name "Spring 2027" --organization "Acme Academy" --course K8S-101 --starts
    2027-03-01 --expires 2027-05-31 --content-availability 90 --share-with-children
pools edit "Autumn 2026" --expires 2027-01-31
pools edit "Autumn 2026" --name "Winter 2026" --no-share-with-children
pools labels "Autumn 2026"
pools labels 1 --json
pools list --organization "Acme Academy" --state active
pools list --state active --watch
pools pause "Autumn 2026"
pools pause 1
pools resume "Autumn 2026"
pools resume 1
pools show "Autumn 2026"
pools show 1 --json
keys add "Autumn 2026" WELCOME-2026-0001 WELCOME-2026-0002
keys add "Autumn 2026" - --label Berlin
keys distribute "Autumn 2026" desk@example.org --count 3 --reference ORDER-17
keys distribute "Autumn 2026" --file people.csv --mail --template Welcome
keys distributions "Autumn 2026"
keys distributions "Autumn 2026" --recipient desk@example.org
keys export "Autumn 2026" --undistributed -o undistributed.csv
keys export "Autumn 2026" --label Berlin --labels --format xlsx -o berlin.xlsx
keys generate "Autumn 2026" 1000
keys generate "Autumn 2026" 500 --label "Berlin, evening" --no-wait
keys import "Autumn 2026" keys.csv --dry-run
keys import "Autumn 2026" keys.xlsx --column code=Voucher --ignore Contact
keys list "Autumn 2026" --state redeemed
keys list "Autumn 2026" --label Berlin --undistributed
keys recall "Autumn 2026" desk@example.org
keys recall "Autumn 2026" desk@example.org --reference ORDER-17
keys replace WELCOME-2026-0001 --reason "It was printed twice."
keys replace WELCOME-2026-0001 --reason "It was lost." --recipient ann@example.org
keys retire WELCOME-2026-0001 WELCOME-2026-0002
keys retire - --json
keys show WELCOME-2026-0003
keys show WELCOME-2026-0003 --as ann@example.org --language de
batches cancel 1
batches cancel 1 --json
batches list
batches list --pool "Autumn 2026"
batches report 1
batches report 1 -o refused.csv
batches show 1
batches show 1 --json
batches watch 1
batches watch 1 --json
bulk-acts cancel 1
bulk-acts cancel 1 --json
bulk-acts list
bulk-acts list --act extend
bulk-acts report 1 --refused
bulk-acts report 1 -o results.csv
bulk-acts show 1
bulk-acts show 1 --json
events list --failed
events list --type redemption.requested --since 2026-11-01
events retry 12
events retry 12 --json
events show 12
events show 12 --json
redemptions list --pool "Autumn 2026" --refused
redemptions list --learner ann@example.org --since 2026-11-01
send http://127.0.0.1:8080/webhooks/1 --secret whsec_c2VjcmV0 redemption.requested
    key=WELCOME-2026-0001 learner.email=ann@example.org
send http://127.0.0.1:8080/webhooks/1 --secret whsec_c2VjcmV0 --file events.ndjson
assignments cancel 1 --reason "Ordered twice."
assignments cancel 1 2 3 --retire-key --reason "The course was called off."
assignments expire
assignments expire --json
assignments extend 1 --by 30
assignments extend --pool "Autumn 2026" --expiring-within 14 --by 30 --price 5.00
assignments list --learner ann@example.org
assignments list --organization "Acme Academy" --at-risk
assignments show 1
assignments show 1 --json
learners correct ann@example.org --email anna@example.org
learners correct ann@example.org --name "Ann Lee"
learners duplicates
learners duplicates --json
learners erase ann@example.org
learners erase ann@example.org --json
learners export ann@example.org
learners export ann@example.org --json
learners join 7
learners join 7 --cancel-shorter
learners show ann@example.org
learners show ann@example.org --json
messages list --failed
messages list --recipient ann@example.org --since 2026-11-01
messages resend 5
messages resend 5 --json
messages show 5
messages show 5 --json
templates list
templates list --json
templates preview --subject "{{ course }} is yours" --file welcome.txt
templates preview --organization Alder --subject "Your keys" --file welcome.txt
templates save Welcome --organization Alder --subject "Your keys" --file welcome.txt
templates save Bye --organization Alder --subject "It ends soon" --file bye.txt
reminders list
reminders list --json
reminders save Alder key_unused --days 14
reminders save Alder pool_low --keys 50 --to office@alder.example
reminders stop Alder pool_low
reminders stop Alder key_unused
history export --since 2026-11-01 -o november.csv
history export --organization "Acme Academy" -o acme.csv
history list --by ann@example.org
history list --thing pool --thing-id 1
invoices charges 1
invoices charges --organization "Acme Academy" --unbilled
invoices credit 17 --reason "The lab was down."
invoices credit 17 --amount 10.00 --reason "A part was down." --now
invoices export 1 -o invoice.pdf
invoices export --from 2026-06-01 --to 2026-06-30 --format journal -o june.csv
invoices finalize 1
invoices finalize 1 --anyway
invoices list --status overdue
invoices list --organization "Acme Academy" --month 2026-11
invoices pay 1 --on 2026-12-05
invoices pay 1 --on 2026-12-05 --amount 20.00 --reference BANK-88
invoices run
invoices run --month 2026-10 --finalize
invoices show 1
invoices show 1 --json
invoices statement "Acme Academy"
invoices statement "Acme Academy" --on 2026-11-28 --format pdf -o statement.pdf
invoices unpay 3 --reason "It was another invoice's."
invoices unpay 3 --reason "The bank took it back." --json
invoices void 1 --reason "The wrong buyer."
invoices void 1 --reason "The wrong buyer." --json
reports deferred --organization "Acme Academy" --from 2026-01-01 --to 2026-10-31
reports deferred --journal --from 2026-10-01 --to 2026-10-31 -o october.csv
reports dictionary
reports dictionary --markdown
reports end keypool_report_0f3c9a1b2d4e5f60
reports end keypool_report_0f3c9a1b2d4e5f60 --json
reports export 12 -o january.html
reports export 12 --format xlsx -o january.xlsx
reports kept --organization "Acme Academy"
reports kept --notebook billing --state failed
reports lab
reports lab -- --port 9999
reports list
reports list --json
reports login "Acme Academy"
reports login "Acme Academy" --json
reports logins
reports logins --json
reports measures --organization "Acme Academy"
reports measures --from 2026-01-01 --to 2026-03-31
reports pause 1
reports pause 1 --json
reports reschedule 1 --every week --format pdf
reports reschedule 1 --mail ann@example.org --mail bob@example.org
reports resume 1
reports resume 1 --json
reports run redemptions --from 2026-01-01 --to 2026-03-31 -o q1.html
reports run billing --organization "Acme Academy" --keep --format pdf
reports schedule usage --organization "Acme Academy" --every month --format pdf
reports schedule sources -p at_least=10 --every week --mail ann@example.org
reports schedules
reports schedules --organization "Acme Academy"
reports show 12
reports show 12 --json
reports unschedule 1
reports unschedule 1 --json
lake build
lake build --json
lake check
lake check --json
audit
audit --since 2026-11-01
"""


def _by_command() -> dict[str, list[str]]:
    made: dict[str, list[str]] = {"": ["up", "pools list --state active"]}
    for example in TEXT.replace("\n    ", " ").strip().splitlines():
        words = example.split(" ", 2)
        path = words[0] if words[0] in OF_ONE_WORD else " ".join(words[:2])
        made.setdefault(path, []).append(example)
    return made


EXAMPLES = _by_command()


def of_command(path: str) -> Sequence[str]:
    """Give the two examples of a command, such as `pools list`; of a group, those of its commands."""
    if path in EXAMPLES:
        return EXAMPLES[path]
    return list(_of_group(f"{path} "))[:2]


def _of_group(start: str) -> Iterator[str]:
    """Give each command's first example, and then the second ones."""
    for nth in (0, 1):
        yield from (two[nth] for path, two in EXAMPLES.items() if path.startswith(start))


def lines(path: str, width: int) -> Iterator[str]:
    """Give a command's examples as a shell takes them, each broken so that it fits in `width`."""
    for example in of_command(path):
        whole = QUOTED.sub(lambda text: text[0].replace(" ", "\xa0"), f"keypool {example}")
        pieces = textwrap.wrap(
            whole,
            width - len(" \\"),
            initial_indent="  ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield " \\\n".join(pieces).replace("\xa0", " ")
