// The speakers of a scene: their names, voices and faces, and the script that is sent for them.

import { Problem, call } from "./api.js";
import { fileOf } from "./files.js";
import { announce, element, showProblem, size } from "./format.js";
import { drawLanes, remaining } from "./lanes.js";

const FIRST = ["Speaker 1", "Speaker 2"];
const MAX_SPEAKERS = 16; // each has a voice of its own
const FINDS_OUT = { auto: "Find out", none: "Nobody: a narrator" };
const KEPT = "Who speaks when, and all options, are those of the earlier video. Changing the speakers or their faces drops them.";
const form = document.getElementById("new");
const place = document.getElementById("speakers");
const list = element("ol", { className: "speaker-list" });
const lanes = element("div", { className: "lanes", role: "group", "aria-label": "Who speaks when", hidden: true });
const note = element("p", { className: "note", hidden: true }, KEPT);
const problem = element("div", { className: "problem", role: "alert", hidden: true });
const toggle = element("input", { type: "checkbox", id: "several" });
const body = element("div", { className: "speakers-body", hidden: true });
const add = element("button", { type: "button", className: "quiet" }, "Add a speaker");
const find = element("button", { type: "button", className: "quiet" }, "Find out who speaks");
const speakers = []; // of { name, file, face, shares, root, ... }; `shares` names the speaker whose voice it has, too
let active = null; // the speaker that a click on a face is for
let plan = null; // { timeline, script, removed }
let kept = null; // the script of an earlier job, which is sent again while speakers and faces are as in it
let asking = null; // AbortController of the plan that is being made
let options = () => new FormData();
let changed = () => {};

export const isScene = () => toggle.checked;
export const sceneFiles = () => speakers.map((speaker) => speaker.file).filter(Boolean);

// `readOptions` gives the form's options, `onChange` is told that something else will be made.
export function startSpeakers(readOptions, onChange) {
  options = readOptions;
  changed = onChange;
  const words = element("p", { className: "muted" }, "Give each speaker a voice. Choose a speaker, then click the face in the video.");
  body.append(words, list, note, element("div", { className: "speaker-actions" }, add, find), problem, lanes);
  place.replaceChildren(element("label", { className: "several", for: toggle.id }, toggle, " Several people speak"), body);
  place.hidden = false;
  toggle.addEventListener("change", () => show());
  add.addEventListener("click", () => addSpeaker(`Speaker ${speakers.length + 1}`).name.focus());
  find.addEventListener("click", () => (asking ? asking.abort() : findOut()));
  form.addEventListener("change", (event) => event.target.name === "picked_face" && take(event.target.value));
  document.addEventListener("faces", () => { dropPlan(); speakers.forEach(fillFaces); markFace(); });
}

// Fills in the speakers of a script that was sent before, or none; their voices are to be added again.
export function useScript(script) {
  dropScript();
  speakers.splice(0).forEach((speaker) => speaker.root.remove());
  toggle.checked = Boolean(script);
  const owners = new Map(); // voice -> the first speaker that has it
  for (const { name, face, voice } of script ? peopleOf(script) : []) {
    const speaker = addSpeaker(name);
    speaker.face = face === null ? "none" : String(face);
    speaker.shares = owners.get(fileNamed(voice)) ?? null;
    if (speaker.shares) speaker.told.textContent = `The voice of ${speaker.shares}`;
    else owners.set(fileNamed(voice), name);
  }
  forgetPlan();
  kept = script && byParts(script);
  note.hidden = !kept;
  speakers.forEach(fillFaces);
  show();
}

function show() {
  if (toggle.checked && !speakers.length) FIRST.forEach(addSpeaker);
  body.hidden = !toggle.checked;
  document.getElementById("audio-drop").closest(".file").hidden = toggle.checked;
  activate(speakers[0]);
  changed();
}

// --- the script of an earlier job

const fileNamed = (voice) => voice.file ?? voice;

// The speakers of a script, each with its voice; those of its turns alone are found out, like all whose face it leaves open.
function peopleOf(script) {
  const known = script.speakers ?? [];
  const others = (script.diarization ?? []).map((turn) => turn.speaker).filter((name) => !known.some((speaker) => speaker.name === name));
  return [...known, ...[...new Set(others)].map((name) => ({ name }))].map((speaker) => ({ face: "auto", voice: script.voice, ...speaker }));
}

// Names the voices by the speakers that they are added at: where several share one, the first of them.
function byParts(script) {
  const names = peopleOf(script).map(({ voice }) => fileNamed(voice));
  const withPart = (holder) => {
    if (!holder.voice) return holder;
    const name = part(names.indexOf(fileNamed(holder.voice)));
    return { ...holder, voice: holder.voice.file ? { ...holder.voice, file: name } : name };
  };
  return withPart({ ...script, ...(script.speakers && { speakers: script.speakers.map(withPart) }) });
}

function dropScript() {
  if (!kept) return;
  kept = null;
  note.hidden = true;
  for (const speaker of speakers.filter(({ shares }) => shares)) {
    speaker.shares = null;
    if (!speaker.file) speaker.told.textContent = "Choose a file";
  }
  speakers.forEach(fillFaces);
  announce("The times and options of the earlier video are not used");
}

// --- the list

function addSpeaker(name) {
  const id = `speaker-${Date.now()}-${speakers.length}`;
  const speaker = { face: "auto", file: null, shares: null };
  speaker.name = element("input", { type: "text", id, value: name, maxlength: 100, autocomplete: "off" });
  speaker.input = element("input", { type: "file", id: `${id}-voice`, accept: "audio/*,video/*" });
  speaker.told = element("span", { className: "speaker-file" }, "Choose a file");
  speaker.select = element("select", { id: `${id}-face` });
  const remove = element("button", { type: "button", className: "quiet round", "aria-label": `Remove ${name}` }, "×");
  speaker.root = element("li", { className: "speaker" },
    element("span", { className: "speaker-colour", "aria-hidden": "true" }),
    field("Name", id, speaker.name), voiceField(speaker), field("Face", `${id}-face`, speaker.select), remove);
  speaker.root.addEventListener("focusin", () => activate(speaker));
  speaker.name.addEventListener("input", () => { remove.setAttribute("aria-label", `Remove ${speaker.name.value}`); forgetPlan(); });
  speaker.select.addEventListener("change", () => { speaker.face = speaker.select.value; markFace(); forgetPlan(); });
  speaker.input.addEventListener("change", () => speaker.input.files[0] && setVoice(speaker, speaker.input.files[0]));
  remove.addEventListener("click", () => removeSpeaker(speaker));
  speakers.push(speaker);
  list.append(speaker.root);
  fillFaces(speaker);
  renumber();
  return speaker;
}

const field = (text, id, control) => element("div", { className: "speaker-field" }, element("label", { for: id }, text), control);

function voiceField(speaker) {
  const text = element("label", { for: speaker.input.id }, "Voice");
  return element("div", { className: "speaker-field speaker-voice" }, text, element("div", { className: "speaker-drop" }, speaker.input, speaker.told));
}

function setVoice(speaker, file) {
  speaker.file = file;
  activate(speaker);
  if (speaker.shares) dropScript();
  speaker.told.textContent = `${file.name}, ${size(file.size)}`;
  dropPlan();
  changed();
}

function removeSpeaker(speaker) {
  speakers.splice(speakers.indexOf(speaker), 1);
  speaker.root.remove();
  renumber();
  activate(speakers[0]);
  (speakers[0]?.name ?? add).focus();
}

function renumber() {
  speakers.forEach((speaker, index) => { speaker.root.dataset.colour = index % 6; });
  add.disabled = speakers.length >= MAX_SPEAKERS;
  forgetPlan();
  changed();
}

// --- faces

const marks = () => [...form.querySelectorAll("[name=picked_face]")];

function fillFaces(speaker) {
  const found = marks().map((radio) => [radio.value, radio.getAttribute("aria-label")]);
  const choices = [...Object.entries(FINDS_OUT), ...found];
  if ((kept || !found.length) && !choices.some(([value]) => value === speaker.face)) choices.push([speaker.face, `As before (${speaker.face})`]);
  if (!choices.some(([value]) => value === speaker.face)) speaker.face = "auto";
  speaker.select.replaceChildren(...choices.map(([value, text]) => element("option", { value, selected: value === speaker.face }, text)));
}

function activate(speaker) {
  active = speaker ?? null;
  for (const other of speakers) other.root.toggleAttribute("data-active", other === active);
  markFace();
}

function markFace() {
  if (!isScene()) return;
  for (const radio of marks()) radio.checked = radio.value === active?.face;
}

function take(face) {
  if (!isScene() || !active) return;
  active.face = active.select.value = face;
  announce(`${active.name.value}: ${active.select.selectedOptions[0].textContent}`);
  forgetPlan();
}

// --- the plan

// Forgets what was found out and what an earlier script said, because speakers or faces have changed.
function forgetPlan() {
  dropScript();
  dropPlan();
}

function dropPlan() {
  asking?.abort();
  plan = null;
  lanes.hidden = true;
  problem.hidden = true;
}

async function findOut() {
  dropPlan();
  const mine = new AbortController();
  try {
    checkScene();
    asking = mine;
    find.textContent = "Looking… Stop";
    const data = options();
    data.append("video", fileOf("video"));
    appendScene(data);
    const found = await call("/plan", { method: "POST", body: data, signal: mine.signal });
    plan = { ...found, removed: new Set() };
    drawLanes(lanes, plan, speakers.map((speaker) => speaker.name.value), changed);
    announce(`${found.timeline.length} parts found`);
  } catch (error) {
    if (error.name === "AbortError") announce("Stopped");
    else showProblem(problem, error);
  } finally {
    if (asking === mine) asking = null;
    find.textContent = "Find out who speaks";
  }
}

// --- sending

export function checkScene() {
  if (!fileOf("video")) throw new Problem("Something is missing", "Add the video first.");
  const silent = speakers.find((speaker) => !speaker.file && !speaker.shares);
  if (silent || !speakers.length) {
    (silent?.input ?? add).focus();
    throw new Problem("Something is missing", silent ? `Add the voice of ${silent.name.value}.` : "Add a speaker.");
  }
}

// Adds the script, and the voices that it names.
export function appendScene(data) {
  const script = plan ? remaining(plan) : kept ?? { speakers: speakers.map((speaker, index) => ({ name: speaker.name.value, voice: part(index), face: speaker.face })) };
  const people = peopleOf(script);
  if (!people.length) throw new Problem("Nobody speaks", "All parts were removed. Find out who speaks again.");
  const named = new Set(people.map(({ voice }) => fileNamed(voice)));
  data.delete("face");
  data.append("script", JSON.stringify(script));
  speakers.forEach((speaker, index) => named.has(part(index)) && data.append(part(index), speaker.file));
}

const part = (index) => `voice_${index + 1}`;
