"""The language that a request asks for (RFC 9110, 12.5.4), and what its answer says of its own."""

from flask import Response, request

from worker.languages import negotiation, readers


def begin() -> None:
    """Read which language a request asks for."""
    readers.begin(negotiation.choose(request.headers.get("Accept-Language")))


def marked(response: Response) -> Response:
    """Give an answer the languages of its sentences, where it has any for a learner.

    Caches then keep it for those who ask for the same. A page's own language is the page's affair.
    """
    if answered := readers.current().answered:
        response.vary.add("Accept-Language")
        if response.is_json:
            response.content_language.update(sorted(answered))
    return response
