// The form of a new video: its files, pipeline and options, and sending it. Each part has a module of its own.

import { Problem, call, fetchBlob } from "./api.js";
import { keepDraft, keptDraft, markUnsent } from "./draft.js";
import { askForFile, choose, fileOf, labelOf, onChosen, startFiles } from "./files.js";
import { announce, clock, showProblem, size } from "./format.js";
import { chooseModel, chosenModel, loadModels } from "./models.js";
import { buildOptions, faultOf, fillOptions, readOptions, showOptionsOf, valueOf } from "./options.js";
import { sendForm } from "./send.js";
import { checkScene, isScene, sceneFiles, startSpeakers, useScript } from "./speakers.js";
import { showSummary, startSummary } from "./summary.js";
import { showVideo, startVideoInput, usedVideo } from "./video_input.js";
import { showVoice, startVoiceInput, usedVoice } from "./voice_input.js";

const form = document.getElementById("new");
const problemPlace = document.getElementById("form-problem");

// `hear` is called when the pipelines are known.
export function startForm(limits, options, hear) {
  buildOptions(options, ["model"]);
  const kept = keptDraft();
  if (kept) fillOptions(kept);
  startVideoInput({ from: form.elements[options.preview_at], to: form.elements[options.preview_until] }, showSummary);
  startVoiceInput(showSummary);
  startSpeakers(body, () => { markUnsent(isUnsent()); showSummary(); });
  onChosen(showChosen);
  startFiles();
  const save = keepDraft(form, () => ({ ...readOptions(), model: chosenModel()?.id }));
  loadModels((model) => {
    showOptionsOf(model);
    showSummary();
    if (kept?.model && kept.model !== model.id) chooseModel(kept.model);
    if (kept) kept.model = null; // only once
    save();
    hear();
  });
  startSummary();
  document.getElementById("send").disabled = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(limits);
  });
  form.addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
}

const isUnsent = () => Boolean(fileOf("video") || fileOf("audio") || sceneFiles().length);

function showChosen(name, file) {
  problemPlace.hidden = true;
  markUnsent(true);
  if (name === "video") showVideo(file);
  else showVoice(file);
  announce(`${file.name} chosen as ${labelOf(name)}`);
  showSummary();
}

// --- sending

// Checks the form and sends it; the result's place shows how far it is.
export async function submit(limits) {
  problemPlace.hidden = true;
  const button = document.getElementById("send");
  try {
    check(limits);
    button.disabled = true;
    if (await sendForm(body())) markUnsent(false);
  } catch (problem) {
    showSendProblem(problem);
  } finally {
    button.disabled = false;
  }
}

function check(limits) {
  if (isScene()) checkScene();
  const missing = ["video", "audio"].filter((name) => !fileOf(name) && !isScene());
  if (missing.length) {
    document.getElementById(missing[0]).focus();
    throw new Problem("Something is missing", `Add the ${missing.map(labelOf).join(" and the ")} first.`);
  }
  checkSizes(limits);
  if (!chosenModel()) throw new Problem("The server is not ready", "It has no model loaded yet. Try again in a moment.");
  const wrong = [...form.elements].find(faultOf);
  if (wrong) {
    markWrong(wrong);
    throw new Problem("An option cannot be used like this", `${wrong.labels[0].textContent}: ${faultOf(wrong)}`);
  }
}

function checkSizes(limits) {
  const voices = isScene() ? sceneFiles() : [fileOf("audio")];
  const total = [fileOf("video"), ...voices].reduce((sum, file) => sum + file.size, 0);
  if (total > limits.max_upload_bytes) {
    throw new Problem("The files are too large", `Together they have ${size(total)}; this service accepts ${size(limits.max_upload_bytes)}. Shorten the video or compress it more.`);
  }
  for (const [name, length] of [["speech", isScene() ? null : usedVoice()], ["video", usedVideo()]]) {
    if (length > limits.max_duration_s) {
      throw new Problem(`The ${name} is too long`, `It lasts ${clock(length)}; this service takes ${clock(limits.max_duration_s)}. Use a part of it.`);
    }
  }
}

function markWrong(field) {
  document.getElementById("options").open = true;
  field.setAttribute("aria-invalid", "true");
  field.focus();
}

function showSendProblem(problem) {
  const field = problem.errors?.map((error) => form.elements[error.name]).find((found) => found instanceof HTMLElement);
  if (field && field.type !== "file") markWrong(field);
  showProblem(problemPlace, problem);
  problemPlace.scrollIntoView({ block: "nearest" });
}

function body() {
  const data = new FormData();
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.type === "file" || (field.type === "radio" && !field.checked) || field.name === "picked_face") continue;
    const value = valueOf(field);
    if (value !== null) data.append(field.name, value);
  }
  const picked = form.querySelector("[name=picked_face]:checked");
  if (picked && !isScene()) data.set("face", picked.value);
  return data;
}

// --- using another job again

let reused = 0; // counts the clicks: an answer that comes after the next one is not used

// Fills in the settings of a job, and the speech that was sent with it if only the video is to be replaced.
export async function reuse(job, { replaceVideo = false } = {}) {
  fillOptions(job.settings);
  const mine = ++reused;
  const ifLast = (step) => (answer) => mine === reused && step(answer);
  if (job.links.script) call(job.links.script).then(ifLast(useScript), ifLast((problem) => showProblem(problemPlace, problem)));
  else useScript(null);
  const isLoaded = chooseModel(job.settings.model);
  form.dispatchEvent(new Event("change")); // so that it is kept over a reload
  problemPlace.hidden = true;
  form.scrollIntoView();
  document.getElementById("video").focus({ preventScroll: true });
  if (replaceVideo) askForFile("video"); // before anything is awaited: browsers open the dialog only right after a click
  if (replaceVideo) choose("audio", new File([await fetchBlob(job.links.audio)], job.audio_name, { type: "audio/*" }));
  announce(isLoaded ? "The settings are filled in" : "The settings are filled in, but the server has not loaded the model");
}
