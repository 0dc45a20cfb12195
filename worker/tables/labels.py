"""The labels of schema.sql's enum types, as Python reads them; a test compares them."""

from enum import StrEnum


class Role(StrEnum):
    """What an actor may do: the operator everything, the others within their organizations."""

    OPERATOR = "operator"
    MANAGER = "manager"
    FINANCE = "finance"
    ANALYST = "analyst"
    SENDER = "sender"


class KeyState(StrEnum):
    """What became of a key."""

    ISSUED = "issued"
    REDEEMED = "redeemed"
    RETIRED = "retired"


class BatchKind(StrEnum):
    """Where a batch's keys come from."""

    GENERATE = "generate"
    IMPORT = "import"


class BatchState(StrEnum):
    """How far a batch is; the last three are its end."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class LineResult(StrEnum):
    """What became of one line of an import (K5)."""

    ADDED = "added"
    DUPLICATE_IN_INPUT = "duplicate_in_input"
    ALREADY_EXISTS = "already_exists"
    INVALID = "invalid"


class EventStatus(StrEnum):
    """Whether an event was decided; failed ones are set apart for a person."""

    RECORDED = "recorded"
    SETTLED = "settled"
    FAILED = "failed"


class EventType(StrEnum):
    """What a webhook message tells."""

    REDEMPTION_REQUESTED = "redemption.requested"
    TRAINING_LAUNCHED = "training.launched"
    TRAINING_ENDED = "training.ended"


class RedemptionOutcome(StrEnum):
    """What was decided on a redemption.requested event (R3)."""

    REDEEMED = "redeemed"
    ALREADY_YOURS = "already_yours"
    MISTYPED_KEY = "mistyped_key"
    UNKNOWN_KEY = "unknown_key"
    ALREADY_REDEEMED = "already_redeemed"
    KEY_RETIRED = "key_retired"
    NOT_AVAILABLE_TO_ORGANIZATION = "not_available_to_organization"
    COURSE_ARCHIVED = "course_archived"
    POOL_PAUSED = "pool_paused"
    POOL_NOT_STARTED = "pool_not_started"
    POOL_EXPIRED = "pool_expired"
    ALREADY_ASSIGNED = "already_assigned"


# What spends a key, or finds that the learner spent it before; every other outcome is a refusal.
GRANTED = (RedemptionOutcome.REDEEMED, RedemptionOutcome.ALREADY_YOURS)


class LaunchOutcome(StrEnum):
    """Whether a launch was let in (A2)."""

    LAUNCHED = "launched"
    ASSIGNMENT_EXPIRED = "assignment_expired"
    ASSIGNMENT_CANCELLED = "assignment_cancelled"


class AssignmentStatus(StrEnum):
    """Whether an assignment lives; an active one is valid only before its expires_at (A1)."""

    ACTIVE = "active"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ChargeKind(StrEnum):
    """What a charge is for (B3)."""

    REDEMPTION = "redemption"
    EXTENSION = "extension"
    CREDIT = "credit"


class InvoiceKind(StrEnum):
    """What a bill is (B8): a credit note has credits alone."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class InvoiceStatus(StrEnum):
    """How far an invoice is (B5)."""

    DRAFT = "draft"
    FINALIZED = "finalized"
    PAID = "paid"
    VOID = "void"


class DeliveryType(StrEnum):
    """What an endpoint can be told."""

    REDEMPTION_DECIDED = "redemption.decided"
    ASSIGNMENT_EXPIRED = "assignment.expired"
    ASSIGNMENT_CANCELLED = "assignment.cancelled"
    ASSIGNMENT_EXTENDED = "assignment.extended"
    POOL_LOW = "pool.low"
    POOL_EXPIRING = "pool.expiring"
    INVOICE_FINALIZED = "invoice.finalized"
    INVOICE_PAID = "invoice.paid"
    INVOICE_PAYMENT_TAKEN_BACK = "invoice.payment_taken_back"
    INVOICE_VOIDED = "invoice.voided"
    CREDIT_NOTE_FINALIZED = "credit_note.finalized"
    INVOICE_OVERDUE = "invoice.overdue"
    REPORT_MADE = "report.made"
    REPORT_FAILED = "report.failed"
    POOL_UNUSUAL = "pool.unusual"


class UnusualRule(StrEnum):
    """By which rule a pool is unusual against its own past."""

    SUDDEN_PACE = "sudden_pace"
    STRANGERS = "strangers"
    SHARED_KEYS = "shared_keys"


class DeliveryState(StrEnum):
    """Whether an endpoint took what it was told; failed ones are set apart for a person."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class MessageState(StrEnum):
    """Whether a mail went out; failed ones are set apart for a person."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


class ReminderKind(StrEnum):
    """What an organization can be reminded of, or have its people reminded of."""

    KEY_UNUSED = "key_unused"
    ACCESS_UNLAUNCHED = "access_unlaunched"
    ACCESS_ENDING = "access_ending"
    POOL_LOW = "pool_low"
    POOL_ENDING = "pool_ending"
    INVOICE_SENT = "invoice_sent"
    INVOICE_DUE = "invoice_due"
    INVOICE_OVERDUE = "invoice_overdue"
    REPORT_MADE = "report_made"
    TROUBLE = "trouble"


class ReportState(StrEnum):
    """How far a report that is kept is; the last two are its end."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ReportFormat(StrEnum):
    """What a report is asked for as; a PDF is kept beside its HTML."""

    HTML = "html"
    PDF = "pdf"


class ScheduleFormat(StrEnum):
    """What a scheduled report is mailed as; a workbook has its tables."""

    HTML = "html"
    PDF = "pdf"
    XLSX = "xlsx"


class ReportRhythm(StrEnum):
    """How often a scheduled report is made, and about how long a period."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class SourceKind(StrEnum):
    """What posts a source's events: an external system, or the organization's redeem page."""

    SYSTEM = "system"
    PAGE = "page"


class RedeemPage(StrEnum):
    """Whether an organization has a redeem page, and whether people prove their address there."""

    OFF = "off"
    PROOF = "proof"
    OPEN = "open"


# What each means, wherever one is chosen.
REDEEM_PAGE_MEANS = {
    RedeemPage.OFF: "there is no page.",
    RedeemPage.PROOF: "a code by mail proves that the address is the person's.",
    RedeemPage.OPEN: (
        "nobody proves an address: whoever has a key redeems it for any address that they type."
        " For closed networks alone."
    ),
}
