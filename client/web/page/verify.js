// Checks a video: uploads it, and says in words what can be known of its origin.

import { upload } from "./api.js";
import { announce, clock, element, icon, short, showProblem, size } from "./format.js";
import { titleOf } from "./models.js";
import { SHIELD } from "./quality.js";

const MOST_SPANS = 6; // that are named
const CREDENTIALS = ".c2pa"; // what files of credentials end in
const byId = (id) => document.getElementById(id);
const input = byId("verify-file");
const progress = byId("verify-progress");
const cancel = byId("verify-cancel");
const problem = byId("verify-problem");
const place = byId("verification");
let stop = null; // of the check that is going on

export function startVerify() {
  input.addEventListener("change", check);
  cancel.addEventListener("click", () => stop?.abort());
}

async function check() {
  problem.hidden = place.hidden = true;
  const form = formOf([...input.files]);
  if (!form) return;
  stop = new AbortController();
  tell("Uploading");
  input.disabled = true;
  cancel.focus({ preventScroll: true });
  try {
    show(await upload("/verify", form, (loaded, total) => tell(progressOf(loaded, total)), stop.signal));
  } catch (error) {
    if (error.name !== "AbortError") showProblem(problem, error);
  }
  const hadFocus = document.activeElement === cancel;
  progress.hidden = true;
  input.disabled = false;
  input.value = ""; // so that the same file can be chosen again
  if (hadFocus) input.focus({ preventScroll: true });
}

function formOf(files) {
  const isCredentials = (file) => file.name.toLowerCase().endsWith(CREDENTIALS);
  const videos = files.filter((file) => !isCredentials(file));
  const beside = files.filter(isCredentials);
  if (!files.length) return null;
  if (videos.length !== 1 || beside.length > 1) {
    showProblem(problem, { title: "Choose one video", text: `One video at a time can be checked, with the ${CREDENTIALS} file that lay beside it if there is one.` });
    return null;
  }
  const form = new FormData();
  form.append("video", videos[0]);
  if (beside.length) form.append("credentials", beside[0]);
  return form;
}

function tell(text) {
  progress.hidden = false;
  const status = byId("verify-status");
  if (status.textContent !== text) status.textContent = text;
}

const progressOf = (loaded, total) => (loaded < total ? `Uploading ${size(total)}` : "Checking the video. A long one takes minutes.");

function show(found) {
  const facts = [...ofCredentials(found.credentials), ["Mark", ofMark(found.mark)]]
    .filter(([, text]) => text)
    .map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", {}, text)));
  const unknown = found.unknown.map((text) => element("li", {}, sentence(text)));
  place.dataset.outcome = found.outcome;
  place.replaceChildren(
    element("div", { className: "verdict-line" }, icon(SHIELD), element("div", {}, element("p", { className: "muted" }, short(found.file)), element("h2", {}, sentence(found.verdict)))),
    element("dl", {}, ...facts),
    element("div", {}, element("h3", {}, "What cannot be known"), element("ul", {}, ...unknown)),
  );
  place.hidden = false;
  if (document.activeElement === cancel) place.focus({ preventScroll: true });
  place.scrollIntoView({ block: "nearest" });
  announce(sentence(found.verdict));
}

function ofCredentials(found) {
  if (!found || found.state === "none") return [];
  return [
    ["Credentials", sentence(found.state_text)],
    ["Still as signed", found.problems.length && found.intact !== null ? `${(100 * found.intact).toFixed(1)} % of the encoded pictures` : ""],
    ["Signed by", found.signed_by && short(found.signed_by)],
    ["When", when(found)],
    ["Changed", changed(found.job)],
    ["Made with", found.job ? [titleOf(found.job.pipeline), models(found.job)].filter(Boolean).join(": ") : ""],
    ["Program", found.program],
    ["Signed as", found.title],
    ["Made from", found.ingredients.map(({ name, has_credentials: own }) => (own ? `${name} (which had credentials of its own)` : name)).join(", ")],
  ];
}

function when({ signed_at: signed, stated_time: stated }) {
  if (signed) return `${time(signed)}, as a timestamp authority confirms`;
  return stated ? `${time(stated)}, as the signer says` : "";
}

function time(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

function changed(job) {
  if (!job) return "";
  const shown = job.changed_spans.slice(0, MOST_SPANS).map(span);
  const more = job.changed_spans.length > MOST_SPANS ? " and more" : "";
  const spans = shown.length ? `, at ${shown.join(", ")}${more}` : "";
  return `The mouth in ${job.changed_frames} of ${job.frames} frames${spans}`;
}

const moment = (seconds) => (seconds < 60 ? `${seconds.toFixed(1)} s` : clock(seconds));
const span = ([start, end]) => `${moment(start)} to ${moment(end)}`;
const models = (job) => Object.entries(job.models).map(([name, version]) => `${name} (${version.slice(0, 16)})`).join(", ");

function ofMark(mark) {
  if (!mark) return "The pictures cannot be read.";
  return mark.is_found ? `Found, somewhere in ${mark.spans.slice(0, MOST_SPANS).map(span).join(", ")}` : "Not found";
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
