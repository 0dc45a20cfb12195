"""Pools: the list, and a pool's own page."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import measuring, plotting
from webhook.console.access import READERS, known, page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.forms import whole
from webhook.console.frame import blueprint
from webhook.console.words import of_owner
from webhook.http import files
from worker.billing import charges
from worker.bulk import selecting
from worker.database import connections
from worker.database.connections import Login
from worker.pools import batches, distributions, exporting, keys, pools, shared
from worker.redemption import recent
from worker.tables.tenancy import Organization
from worker.tenancy.actors import Actor, Role


@blueprint.get("/pools", endpoint="pools")
@page(*READERS)
def pools_page(session: Session, actor: Actor) -> Any:
    """List pools."""
    listed = pools.listing(session, actor=actor, filters=chosen(pools.Filters), **place())
    own = actor.organization_id
    shared_ones = own and shared.listing(session, actor=actor, organization=str(own))
    return render_template(
        "pools.html", listed=listed, filtered=pools.Filters, own=own, shared=shared_ones
    )


@blueprint.get("/pools/<pool>")
@page(*READERS)
def pool(session: Session, actor: Actor, pool: str) -> Any:
    """Show a pool: its settings, figures, running batch, keys, redemptions and refusals."""
    shown = pools.show(session, actor=actor, pool=pool)
    of_owner(shown["organization"])
    pool_id = shown["id"]
    filters, of_pool = chosen(keys.Filters), batches.Filters(pool=pool_id)
    lately = recent.of_pool(session, actor=actor, pool=pool_id, last=plotting.days_shown())
    return render_template(
        "pool.html",
        pool=shown,
        filtered=keys.Filters,
        batches=batches.listing(session, actor=actor, filters=of_pool, limit=3).items,
        charged=charges.of_pool(session, actor=actor, pool=pool_id),
        recent=lately,
        redemptions=measuring.of_pool(lately, pool_id),
        labels=pools.by_label(session, actor=actor, pool=pool_id).items,
        listed=keys.listing(session, actor=actor, pool=pool_id, filters=filters, **place()),
        distributions=distributions.listing(
            session, actor=actor, pool=pool_id, filters=chosen(distributions.Filters), limit=10
        ),
    )


@blueprint.get("/pools/<pool>/edit")
@page(Role.MANAGER)
def edit_pool(session: Session, actor: Actor, pool: str) -> Any:
    """Show the form that changes a pool."""
    shown = pools.show(session, actor=actor, pool=pool)
    values = _as_typed(session, actor, pool)
    return render_template("edit_pool.html", pool=shown, values=values)


@blueprint.post("/pools/<pool>/edit")
@page(Role.MANAGER, on="edit_pool")
def change_pool(session: Session, actor: Actor, pool: str) -> Any:
    """Change a pool."""
    typed = {name: request.form.get(name, "") for name in ("name", "starts", "expires")}
    availability = whole(request.form.get("content_availability", ""), field="content_availability")
    pools.edit(
        session,
        actor=actor,
        pool=pool,
        content_availability=availability,
        share_with_children="share" in request.form,
        **typed,
    )
    return done("The pool is changed; live assignments keep their access.", "pool", pool=pool)


@blueprint.post("/pools/<pool>/pause")
@page(Role.MANAGER, on="pool")
def pause_pool(session: Session, actor: Actor, pool: str) -> Any:
    """Pause a pool: its keys cannot be redeemed until it is resumed."""
    pools.pause(session, actor=actor, pool=pool)
    return done("The pool is paused: its keys cannot be redeemed.", "pool", pool=pool)


@blueprint.post("/pools/<pool>/resume")
@page(Role.MANAGER, on="pool")
def resume_pool(session: Session, actor: Actor, pool: str) -> Any:
    """Resume a paused pool: its keys can be redeemed again."""
    pools.resume(session, actor=actor, pool=pool)
    return done("The pool is resumed.", "pool", pool=pool)


@blueprint.get("/pools/<pool>/keys.csv")
@known(*READERS)
def export_keys(actor: Actor, pool: str) -> Any:
    """Export a pool's keys as CSV, as CSV for Excel, or as a workbook, from one snapshot.

    Those of some rows, where rows are selected and not all that fit.
    """
    rows = [] if "all" in request.args else request.args.getlist("row")
    format, filters = request.args.get("format") or exporting.Format.CSV, chosen(keys.Filters)
    with connections.session(Login.WEB, sees=actor.scope) as session:
        return files.keys(
            session,
            actor=actor,
            pool=pool,
            filters=filters,
            labels="labels" in request.args,
            format=format,
            ids=selecting.named(rows) if rows else (),
        )


def _as_typed(session: Session, actor: Actor, name: str) -> dict[str, str]:
    found = pools.find(session, actor=actor, pool=name)
    zone = session.get_one(Organization, found.organization_id).time_zone
    return pools.as_typed(found, zone=zone)
