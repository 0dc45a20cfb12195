"""The least that a receiver could do, on the same server: insert the row and commit."""

from flask import Flask, Response, request

from worker import database

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

    return app
