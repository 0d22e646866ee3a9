// A button that opens a short list of actions; Escape, a click elsewhere or leaving it closes it.

import { element, icon } from "./format.js";

const DOTS = "M12 7.500a1.500 1.500 0 1 0 0-3 1.500 1.500 0 0 0 0 3zm0 6a1.500 1.500 0 1 0 0-3 1.500 1.500 0 0 0 0 3zm0 6a1.500 1.500 0 1 0 0-3 1.500 1.500 0 0 0 0 3z";

export function makeMenu() {
  const button = element("button", { type: "button", className: "quiet round", "aria-expanded": "false" }, icon(DOTS));
  const items = element("div", { className: "menu-items", hidden: true });
  const root = element("div", { className: "menu" }, button, items);
  const open = (isOpen) => {
    items.hidden = !isOpen;
    button.setAttribute("aria-expanded", String(isOpen));
  };
  button.addEventListener("click", () => open(items.hidden));
  root.addEventListener("focusout", (event) => event.relatedTarget && !root.contains(event.relatedTarget) && open(false));
  addEventListener("pointerdown", (event) => root.contains(event.target) || open(false));
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || items.hidden) return;
    open(false);
    button.focus();
  });
  items.addEventListener("click", () => open(false));
  const fill = (name, buttons) => {
    const hadFocus = items.contains(document.activeElement);
    button.setAttribute("aria-label", `Actions for ${name}`);
    items.replaceChildren(...buttons);
    if (hadFocus) button.focus();
  };
  return { root, fill };
}
