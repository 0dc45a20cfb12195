"""Filling in every form of a page, by mouse and by keyboard, with a look at all of it after each pause."""

from typing import Any

from playwright.sync_api import ElementHandle, Page

CONTROLS = ":is(input:not([type=hidden], [type=file], [readonly]), select, textarea)"
# How many timers are about to fire and how many requests are under way: none is a pause.
COUNTING = """
    window.busy = 0;
    const wait = window.setTimeout, send = XMLHttpRequest.prototype.send;
    window.setTimeout = (act, after = 0, ...rest) => {
      if (after >= 1000) return wait(act, after, ...rest);
      window.busy++;
      return wait(() => { window.busy--; act(...rest); }, after);
    };
    window.clearTimeout = () => {};  // one that is put off fires all the same: no pause is cut short
    XMLHttpRequest.prototype.send = function (...body) {
      window.busy++;
      this.addEventListener('loadend', () => window.busy--);
      return send.apply(this, body);
    };
"""
MARK = "controls => controls.forEach((one) => { one.marked = true; })"
# Bring a control into sight, as people do by its tab, its dialog's button or what folds it; and say where.
REVEAL = """one => {
    const show = (hidden) => {
      const part = hidden.closest('[role=tabpanel][hidden]');
      if (part) document.querySelector(`[aria-controls="${part.id}"]`).click();
    };
    const dialog = one.closest('dialog'), open = document.querySelector('dialog[open]');
    if (open && open !== dialog) open.close();
    if (dialog && open !== dialog) {
      const opener = document.querySelector(`button[commandfor="${dialog.id}"][command=show-modal]`);
      show(opener);
      opener.click();
    }
    show(one);
    for (let fold = one; (fold = fold.closest('details:not([open])'));) fold.open = true;
    one.scrollIntoView({ block: 'center' });
    const { x, y, width, height } = one.getBoundingClientRect();
    const enabled = !one.disabled && one.checkVisibility();  // one may stay hidden until rows are selected
    return { type: one.type, enabled, x: x + width / 2, y: y + height / 2 };
}"""
# After a pause: what is in each control, whether it is the one of before, and whether this one has the focus.
LEFT = """async (one) => {
    const controls = () => [...document.querySelectorAll('main CONTROLS')].map((one) => [one.id || one.name,
      one.marked === true, /check|radio/.test(one.type) ? one.checked : one.value]);
    const before = JSON.stringify(controls());
    while (window.busy) await new Promise(requestAnimationFrame);
    const stray = controls().filter(([, marked]) => !marked);
    return { same: JSON.stringify(controls()) === before, stray, focused: document.activeElement === one };
}""".replace("CONTROLS", CONTROLS)


def walk(page: Page) -> None:
    """Fill in all forms of a page by mouse, and then again by keyboard."""
    page.locator(f"main {CONTROLS}").evaluate_all(MARK)
    controls = page.query_selector_all(f"main {CONTROLS}")
    for mouse in (True, False):
        for control in controls:
            place = control.evaluate(REVEAL)
            if place["enabled"]:
                fill(page, control, place, mouse=mouse)
                left = control.evaluate(LEFT)
                assert left == {"same": True, "stray": [], "focused": True}, (page.url, place)


def fill(page: Page, control: ElementHandle, place: dict[str, Any], *, mouse: bool) -> None:
    """Come to a control by mouse or by keyboard, and give it a value."""
    if mouse and place["type"] != "select-one":
        page.mouse.click(place["x"], place["y"])
    else:
        control.focus()
    if place["type"] == "select-one":
        page.keyboard.press("ArrowDown")
    elif place["type"] == "date":
        control.fill("2026-05-17" if mouse else "2027-05-17")
    elif place["type"] not in ("checkbox", "radio"):
        page.keyboard.press("7")
    elif not mouse:
        page.keyboard.press("Space")
