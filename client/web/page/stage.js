// Shows original and result over each other with a line to wipe between them, beside each other, or one alone.

import { call } from "./api.js";
import { asJpeg } from "./faces.js";
import { element } from "./format.js";

export const VIEWS = { wipe: "Wipe", both: "Side by side", result: "Result", original: "Original" };
const KEY = "lipsync-view";
const ZOOM = 2.5;
const MOUTH = 0.78; // of a face's box, from its top
let made = 0; // for names of radio buttons

export class Stage {
  constructor(result, source) {
    this.result = result;
    this.source = source; // place of the original
    const over = element("div", { className: "side result-side" }, result, element("span", { className: "badge" }, "Result"));
    source.className = "side original-side";
    source.append(element("span", { className: "badge" }, "Original"));
    this.wipe = element("input", { type: "range", className: "wipe", min: 0, max: 100, step: 1, value: 50, "aria-label": "Line between original and result" });
    this.wipe.addEventListener("input", () => this.draw());
    this.root = element("div", { className: "stage pair" }, source, over, element("span", { className: "wipe-line", "aria-hidden": "true" }), this.wipe);
    this.views = this.makeViews();
    this.isZoomed = false;
    this.show(sessionStorage.getItem(KEY) ?? "wipe");
  }

  makeViews() {
    const name = `view-${++made}`;
    this.radios = Object.entries(VIEWS).map(([value, text]) => {
      const radio = element("input", { type: "radio", name, value });
      radio.addEventListener("change", () => this.show(value));
      return element("label", {}, radio, element("span", {}, text));
    });
    return element("div", { className: "views", role: "radiogroup", "aria-label": "View" }, ...this.radios);
  }

  show(view) {
    this.view = view in VIEWS ? view : "wipe";
    sessionStorage.setItem(KEY, this.view);
    this.root.dataset.view = this.view;
    for (const label of this.radios) label.firstChild.checked = label.firstChild.value === this.view;
    this.wipe.disabled = this.view !== "wipe";
    this.draw();
  }

  // Changes between original and result, for the keyboard.
  toggle() {
    this.show(this.view === "original" ? "result" : "original");
  }

  draw() {
    this.root.style.setProperty("--wipe", `${this.wipe.value}%`);
    this.wipe.setAttribute("aria-valuetext", `${this.wipe.value} % original`);
  }

  fit(width, height) {
    if (width && height) this.root.style.setProperty("--ratio", width / height);
  }

  // Zooms to the mouth as it is now, or back; false if no face is found.
  async zoom(job) {
    if (this.isZoomed) return this.setZoom(null);
    const { blob, width } = await asJpeg(this.result);
    const form = new FormData();
    form.append("picture", blob, "picture");
    const found = await call("/faces", { method: "POST", body: form });
    const face = faceOf(found, job.settings.face, width / found.width);
    if (!face) return false;
    return this.setZoom([(face.x1 + face.x2) / 2 / found.width, (face.y1 + MOUTH * (face.y2 - face.y1)) / found.height]);
  }

  setZoom(at) {
    this.isZoomed = Boolean(at);
    this.root.classList.toggle("zoomed", this.isZoomed);
    const shift = (place) => `${50 - 100 * ZOOM * Math.min(Math.max(place, 0.5 / ZOOM), 1 - 0.5 / ZOOM)}%`;
    const [x, y] = at ?? [0.5, 0.5];
    this.root.style.setProperty("--zoom-x", shift(x));
    this.root.style.setProperty("--zoom-y", shift(y));
    this.root.style.setProperty("--zoom", ZOOM);
    return true;
  }
}

// The face that a job was for, as far as a point says so; otherwise the largest.
function faceOf(found, choice, scale) {
  const point = /^([\d.]+),([\d.]+)$/.exec(choice ?? "")?.slice(1).map((number) => number / scale);
  const far = (face) => Math.hypot((face.x1 + face.x2) / 2 - point[0], (face.y1 + face.y2) / 2 - point[1]);
  const size = (face) => (face.x1 - face.x2) * (face.y2 - face.y1); // negative: the largest comes first
  return [...found.faces].sort(point ? (a, b) => far(a) - far(b) : (a, b) => size(a) - size(b))[0] ?? null;
}
