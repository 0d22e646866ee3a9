// The pipelines as cards to choose from, as the service describes them; those that it lacks say what to do.

import { call } from "./api.js";
import { duration, element } from "./format.js";

const AGAIN_MS = 5000;
const place = document.getElementById("models");
const waiting = document.getElementById("models-waiting");
const cards = []; // of { model, radio, time }

// Loads the pipelines, again and again until the service has one; `hear` is told which one is chosen.
export async function loadModels(hear) {
  let found = [];
  try {
    found = (await call("/pipelines")).pipelines;
    waiting.textContent = "The server has no model yet.";
  } catch (problem) {
    waiting.textContent = problem.text ?? "";
  }
  if (!found.some((model) => model.ready)) {
    setTimeout(() => loadModels(hear), AGAIN_MS);
    return;
  }
  show(found, hear);
}

function show(found, hear) {
  const first = found.find((model) => model.ready);
  const made = found.map((model) => makeCard(model, model === first, hear));
  waiting.remove();
  const advice = new Set(found.map((model) => model.advice).filter(Boolean));
  const notes = [...advice].map((text) => element("p", { className: "note" }, text));
  place.append(element("div", { className: "model-list" }, ...made.map((card) => card.root), ...notes));
  cards.push(...made);
  hear(first);
}

function makeCard(model, checked, hear) {
  const id = `about-${model.id}`;
  const radio = element("input", { type: "radio", name: "model", value: model.id, checked, disabled: !model.ready, "aria-describedby": id });
  radio.addEventListener("change", () => hear(model));
  const time = element("span", { className: "model-time" });
  const lines = [model.quality_text, model.speed_text].filter(Boolean).map((text) => element("li", {}, text));
  const about = element("span", { className: "model-about", id },
    element("ul", {}, ...lines),
    element("span", { className: "model-licence" }, `Weights: ${model.licence}`));
  if (!model.ready) time.textContent = "Not on this server";
  const root = element("label", { className: model.ready ? "model" : "model missing" }, radio, element("span", { className: "model-head" }, element("b", {}, model.title), time), about);
  return { model, radio, time, root };
}

// The name of a pipeline, for people; its id until the pipelines are known.
export const titleOf = (id) => cards.find(({ model }) => model.id === id)?.model.title ?? id;

export const chosenModel = () => cards.find(({ radio }) => radio.checked)?.model ?? null;

// Chooses a pipeline by its id; false if the server lacks it.
export function chooseModel(id) {
  const card = cards.find(({ model }) => model.id === id);
  if (!card?.model.ready) return false;
  card.radio.click();
  return true;
}

// Seconds that a pipeline takes for a result of some length; null if unknown.
export const secondsFor = (model, length) =>
  model?.seconds_per_second && length ? model.seconds_per_second * length : null;

// Says on each card how long it takes for a result of that length.
export function tellTimes(length) {
  for (const { model, time } of cards) {
    if (!model.ready) continue;
    const seconds = secondsFor(model, length);
    time.textContent = seconds === null ? "" : `about ${duration(seconds)} for this clip on this server`;
  }
}

// Learns the times of jobs that have ended meanwhile.
export async function refreshModels() {
  try {
    for (const fresh of (await call("/pipelines")).pipelines) {
      const card = cards.find(({ model }) => model.id === fresh.id);
      if (card) card.model.seconds_per_second = fresh.seconds_per_second;
    }
  } catch {
    // the header says that the service is not ready
  }
}
