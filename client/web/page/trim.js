// A bar that shows a length of time, with two handles that choose a part of it: by mouse, touch or keyboard.

import { clock, element } from "./format.js";

const SMALLEST_S = 0.2; // part that can be chosen
const STEPS = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1, PageDown: -1, PageUp: 1 };

// `what` names the handles; `hear` is told of a choice, `seek` of a click on the bar.
export function makeTrim(what, { hear, seek }) {
  return new Trim(what, hear, seek);
}

class Trim {
  constructor(what, hear, seek) {
    this.length = 0;
    this.from = 0;
    this.to = 0;
    this.hear = hear;
    this.handles = ["from", "to"].map((side) => this.makeHandle(side, `${side === "from" ? "Start" : "End"} of the ${what}`));
    this.before = element("div", { className: "trim-cut" });
    this.after = element("div", { className: "trim-cut after" });
    this.now = element("div", { className: "trim-now", hidden: true });
    this.back = element("div", { className: "trim-back" });
    this.root = element("div", { className: "trim", hidden: true }, this.back, this.before, this.after, this.now, ...this.handles);
    this.root.addEventListener("pointerdown", (event) => event.target.closest(".trim-handle") || seek(this.timeAt(event)));
  }

  makeHandle(side, label) {
    const handle = element("div", { className: `trim-handle ${side}`, role: "slider", tabindex: 0, "aria-label": label });
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      handle.focus();
      event.preventDefault();
    });
    handle.addEventListener("pointermove", (event) => handle.hasPointerCapture(event.pointerId) && this.move(side, this.timeAt(event)));
    handle.addEventListener("keydown", (event) => this.press(side, event));
    return handle;
  }

  press(side, event) {
    const ends = { Home: 0, End: this.length };
    const step = STEPS[event.key] * (event.shiftKey ? 10 : 1);
    const time = event.key in ends ? ends[event.key] : this[side] + step;
    if (Number.isNaN(time)) return;
    event.preventDefault();
    this.move(side, time);
  }

  timeAt(event) {
    const box = this.root.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.length;
  }

  move(side, time) {
    const rounded = time >= this.length ? this.length : Math.round(time * 10) / 10;
    if (side === "from") this.from = Math.min(Math.max(rounded, 0), Math.max(this.to - SMALLEST_S, 0));
    else this.to = Math.max(Math.min(rounded, this.length), Math.min(this.from + SMALLEST_S, this.length));
    this.draw();
    this.hear(this, side);
  }

  // Shows a new length, all of it chosen; none hides the bar.
  setLength(length) {
    this.length = Number.isFinite(length) ? length : 0;
    this.set(0, null);
    this.root.hidden = this.length <= SMALLEST_S;
  }

  set(start, end) {
    this.from = Math.min(Math.max(start, 0), this.length);
    this.to = end === null ? this.length : Math.max(Math.min(end, this.length), this.from);
    this.draw();
  }

  get isWhole() {
    return this.from === 0 && this.to === this.length;
  }

  get chosen() {
    return this.to - this.from;
  }

  showAt(time) {
    this.now.hidden = !this.length;
    this.now.style.left = this.percent(time);
  }

  percent(time) {
    return `${this.length ? (100 * time) / this.length : 0}%`;
  }

  draw() {
    for (const [handle, time] of [[this.handles[0], this.from], [this.handles[1], this.to]]) {
      handle.style.left = this.percent(time);
      handle.setAttribute("aria-valuemin", 0);
      handle.setAttribute("aria-valuemax", this.length.toFixed(1));
      handle.setAttribute("aria-valuenow", time.toFixed(1));
      handle.setAttribute("aria-valuetext", `${clock(time)}, ${time.toFixed(1)} seconds`);
    }
    this.before.style.width = this.percent(this.from);
    this.after.style.width = this.percent(this.length - this.to);
  }
}
