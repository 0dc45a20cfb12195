"""The least that a handler could do, on the same server."""

from typing import Any

from flask import Flask, Response, jsonify, request
from sqlalchemy import text
from sqlalchemy.orm import Session

import webhook
from webhook.http.access import allowed
from webhook.serving import Served
from worker.database import connections
from worker.tenancy.actors import Actor, Role

INSERT = """
    INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash,
                       type, data)
    VALUES (1, 1, 1, %s, '', 'redemption.requested', %s)"""
PAGE = """
    SELECT key.id, key.code, key.pool_id, key.state, distribution.recipient, distribution.reference,
           distribution.distributed_at, learner.email, assignment.redeemed_at, assignment.id
      FROM key
      LEFT JOIN distribution ON distribution.id = key.distribution_id
      LEFT JOIN assignment ON assignment.key_id = key.id AND NOT assignment.undone
      LEFT JOIN learner ON learner.id = assignment.learner_id
     WHERE key.pool_id = %s AND key.id > %s ORDER BY key.id LIMIT 101"""


def create_app() -> Served:
    """Make the app that granian serves."""
    app = Flask(__name__)
    engine = connections.engine()

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    @app.post("/webhooks/1")
    def receive() -> Response:
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            body = request.get_data(as_text=True)
            cursor.execute(INSERT, (request.headers["webhook-id"], body))
            connection.commit()
        finally:
            connection.close()
        return Response("{}", 202, mimetype="application/json")

    @app.get("/api/v1/pools/<int:pool>/bare")
    def page(pool: int) -> Response:
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(PAGE, (pool, int(request.args["after"])))
            names = [column[0] for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            connection.close()
        return jsonify({"items": rows, "next": None})

    return Served(app)


def create_keypool() -> Served:
    """Make keypool's own app with one handler more, which does nothing behind the same door."""
    app = webhook.create_app()

    @app.get("/api/v1/assignments/<assignment>/bare")
    @allowed(Role.SENDER)
    def access(session: Session, _actor: Actor, assignment: str) -> Any:
        return jsonify({"allowed": session.scalar(text("SELECT 1")), "assignment": assignment})

    return Served(app)
