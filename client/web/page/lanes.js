// What is planned, as a coloured lane for each speaker, and a list of its parts to read and to remove.

import { announce, element } from "./format.js";

const NOTE = "What you remove is neither lip-synced nor heard.";
const same = (a, b) => Math.abs(a - b) < 0.002; // seconds; scripts have three digits

// `names` says the order, and so the colours; `hear` is told of a removal.
export function drawLanes(place, plan, names, hear) {
  const length = Math.max(...plan.timeline.map((entry) => entry.end_s), 0.001);
  const made = names.map((name, index) => lane(name, index, plan, length, hear));
  const about = plan.expected_s === null ? [] : [`About ${Math.max(1, Math.round(plan.expected_s))} s on this server.`];
  const words = [...plan.warnings, NOTE, ...about].map((text) => element("p", { className: "note" }, text));
  place.replaceChildren(...made, contactSheet(plan.contact_sheet), ...words);
  place.hidden = false;
}

// Frames of the video with boxes and names; the picture comes as a `data:` URL, which the page may not show as it is.
function contactSheet(dataUrl) {
  const bytes = Uint8Array.from(atob(dataUrl.split(",")[1]), (letter) => letter.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
  const picture = element("img", { src: url, alt: "Frames of the video, each face with its number or its speaker's name" });
  picture.addEventListener("load", () => URL.revokeObjectURL(url));
  return element("details", { className: "contact-sheet" }, element("summary", {}, "Faces that were found"), picture);
}

function lane(name, index, plan, length, hear) {
  const bar = element("div", { className: "lane-bar", "aria-hidden": "true" });
  const list = element("ul", { className: "lane-parts" });
  const entries = plan.timeline.filter((entry) => entry.speaker === name);
  for (const entry of entries) {
    const span = element("span", { className: `lane-part ${entry.action === "leave" ? "heard" : ""}` });
    Object.assign(span.style, { left: `${(100 * entry.start_s) / length}%`, width: `${(100 * (entry.end_s - entry.start_s)) / length}%` });
    bar.append(span);
    list.append(line(entry, span, plan, hear));
  }
  if (!entries.length) list.append(element("li", {}, "Never speaks"));
  return element("section", { className: "lane", "data-colour": index % 6, "aria-label": name }, element("h3", {}, name), bar, list);
}

function line(entry, span, plan, hear) {
  const when = `${entry.start_s.toFixed(1)} to ${entry.end_s.toFixed(1)} s`;
  const sure = entry.confidence === null ? "" : `, ${Math.round(100 * entry.confidence)} % sure`;
  const remove = element("button", { type: "button", className: "quiet", "aria-label": `Remove ${entry.speaker}, ${when}` }, "Remove");
  const made = element("li", {}, element("span", {}, `${when}: ${entry.action === "leave" ? "unchanged" : entry.action}, ${entry.why}${sure}`), remove);
  remove.addEventListener("click", () => {
    plan.removed.add(entry);
    const next = made.nextElementSibling ?? made.previousElementSibling;
    span.remove();
    made.remove();
    next?.querySelector("button")?.focus();
    announce(`Removed: ${entry.speaker}, ${when}`);
    hear();
  });
  return made;
}

// The script without what was removed; speakers of whom nothing is left are not in it.
export function remaining(plan) {
  const speakers = plan.script.speakers.map((speaker) => without(speaker, plan)).filter(Boolean);
  return { ...plan.script, speakers };
}

function without(speaker, plan) {
  const entries = plan.timeline.filter((entry) => entry.speaker === speaker.name);
  const removed = entries.filter((entry) => plan.removed.has(entry));
  if (!removed.length) return speaker;
  const left = entries.filter((entry) => !plan.removed.has(entry));
  const known = isOneToOne(speaker, entries) ? speaker.segments : null;
  const segments = known
    ? known.filter(({ start }) => !removed.some((entry) => same(entry.start_s, start)))
    : left.map((entry) => ({ start: round(entry.start_s), end: round(entry.end_s) }));
  return segments.length ? { ...speaker, segments } : null;
}

const isOneToOne = (speaker, entries) =>
  speaker.segments?.length === entries.length && speaker.segments.every(({ start }, index) => same(entries[index].start_s, start));
const round = (seconds) => Math.round(seconds * 1000) / 1000;
