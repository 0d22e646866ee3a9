// A notification by the browser when a video is done, for who asks for it.

import { element } from "./format.js";

let isWanted = false;

// A check box that asks for it; nothing where the browser has no notifications, or they were refused.
export function offerNotice() {
  if (!window.Notification || Notification.permission === "denied") return element("span", { hidden: true });
  const box = element("input", { type: "checkbox", checked: isWanted });
  const root = element("label", { className: "notice" }, box, "Notify me when it is done");
  box.addEventListener("change", async () => {
    isWanted = box.checked && (await Notification.requestPermission()) === "granted";
    box.checked = isWanted;
  });
  return root;
}

export function notify(name, what) {
  if (isWanted && document.hidden) new Notification(`${name} ${what}`, { icon: "/page/icon.svg" });
}
