"""The least that a handler could do, on the same server."""

from typing import Any

from flask import Flask, Response, jsonify, request
from sqlalchemy import text
from sqlalchemy.orm import Session

from webhook.access import allowed
from worker import database
from worker.actors import Actor, Role

INSERT = """
    INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash,
                       type, data)
    VALUES (1, 1, 1, %s, '', 'redemption.requested', %s)"""


def create_app() -> Flask:
    """Make the app that granian serves."""
    app = Flask(__name__)
    engine = database.engine()

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

    @app.get("/api/v1/assignments/<assignment>/bare")
    @allowed(Role.SENDER)
    def access(session: Session, _actor: Actor, assignment: str) -> Any:
        return jsonify({"allowed": session.scalar(text("SELECT 1")), "assignment": assignment})

    return app
