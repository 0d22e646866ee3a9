// What the page says of a result's credentials and quality: a badge, and the spans on the player's timeline.

import { clock, counted, element, icon, short } from "./format.js";
import { titleOf } from "./models.js";

export const SHIELD = "M12 2.500 20 5.500v6c0 4.700-3.300 8.300-8 10-4.700-1.700-8-5.300-8-10v-6zM11 14.900l5.600-5.600-1.400-1.400L11 12.100 9.300 10.400l-1.400 1.400z";
const WORST = ["unknown", "good", "doubtful", "bad"]; // the last one that occurs colours a span
const MARKS = { good: "✓", doubtful: "~", bad: "!", unknown: "?" };

// Who answers for the result, when and for what; null for results of older versions.
export function credentialsOf(job) {
  const found = job.report?.provenance;
  if (!found) return null;
  const isSigned = Boolean(found.signed_by);
  const who = isSigned ? `Signed by ${short(found.signed_by)}` : found.is_marked ? "Marked, not signed" : "Not signed";
  const lines = [when(found), what(job), isSigned && found.is_marked ? "marked" : "", found.label ? `labelled “${found.label}”` : ""];
  const badge = element("p", { className: "credentials" },
    icon(SHIELD), element("b", {}, who), element("span", {}, lines.filter(Boolean).join(" · ")));
  if (job.links.credentials) {
    badge.append(element("a", { href: job.links.credentials, download: "" }, "Download the credentials"));
  }
  badge.dataset.state = isSigned ? "signed" : found.is_marked ? "marked" : "none";
  return badge;
}

function when(found) {
  if (!found.signed_at) return "";
  const time = new Date(found.signed_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return found.timestamped_by ? `${time}, confirmed by ${new URL(found.timestamped_by).hostname}` : time;
}

const what = (job) => `lip-synced by ${titleOf(job.settings.model)}, ${job.report.frames_synced} of ${job.report.frames} frames`;

// The spans under the player's slider, each of which leads to its place; and all findings as a list.
export function qualityOf(job, result) {
  const found = job.report?.quality;
  if (!found) return null;
  const place = element("div", { className: "quality" });
  const tracks = element("div", { className: "quality-tracks" });
  if (found.failure) {
    place.append(element("p", { className: "muted" }, "The result could not be checked."));
    return { tracks, place };
  }
  const total = job.report.duration_s || 1;
  for (const { speaker } of found.speakers) {
    const spans = found.spans.filter((span) => span.speaker === speaker);
    tracks.append(track(found.speakers.length > 1 ? speaker : "", spans, total, result));
  }
  const items = findings(found).map(({ verdict, text, value, name }) => {
    const line = element("li", {}, element("span", { className: "verdict", "aria-hidden": "true" }, MARKS[verdict]), sentence(name, text, value));
    line.dataset.verdict = verdict;
    return line;
  });
  place.append(element("ul", { className: "findings", "aria-label": "Quality" }, ...items), element("p", { className: "muted" }, how(found)));
  return { tracks, place };
}

function track(name, spans, total, result) {
  const bar = element("div", { className: "quality-track", role: "group", "aria-label": name ? `Quality, ${name}` : "Quality" });
  for (const span of spans) {
    const found = [span.follows, span.silence, span.closures].filter(Boolean);
    const verdict = WORST[Math.max(...found.map((one) => WORST.indexOf(one.verdict)))];
    const said = found.filter((one) => one.verdict !== "unknown" || one === span.follows);
    const text = `${clock(span.start_s)} to ${clock(span.end_s)}: ${said.map((one) => one.text).join("; ")}`;
    const part = element("button", { type: "button", title: text, "aria-label": text, onclick: () => { result.currentTime = span.start_s; } }, MARKS[verdict]);
    part.dataset.verdict = verdict;
    part.style.left = `${(100 * span.start_s) / total}%`;
    part.style.width = `${(100 * (span.end_s - span.start_s)) / total}%`;
    bar.append(part);
  }
  return name ? element("div", {}, element("span", { className: "muted" }, short(name)), bar) : bar;
}

function findings(found) {
  const several = found.speakers.length > 1;
  const ofSpeakers = found.speakers.flatMap(({ speaker, follows, silence, offset, closures }) =>
    [follows, silence, offset, closures]
      .filter((one) => one && (one === follows || one === closures || one.verdict !== "unknown"))
      .map((one) => ({ ...one, name: several ? short(speaker) : "", value: one === offset || one === closures ? null : one.value })));
  const outside = found.outside_samples
    ? { verdict: "bad", value: null, text: `${counted(found.outside_samples, "sample")} outside the face ${found.outside_samples === 1 ? "was" : "were"} changed` }
    : { verdict: "good", value: null, text: "nothing outside the face was changed" };
  return [...ofSpeakers, found.flicker, found.edge, outside];
}

function sentence(name, text, value) {
  const said = name ? `${name}: ${text}` : text.charAt(0).toUpperCase() + text.slice(1);
  return value === null || value === undefined ? said : `${said} (${value.toFixed(2)})`;
}

const how = ({ check, frames }) => (check === "full" ? `Every frame was checked.` : `A quick check of ${counted(frames, "frame")}.`);
