// The controls of the form, built from the list of options that the service sends.

import { element } from "./format.js";

const place = document.getElementById("option-groups");
const fields = []; // of { option, root, control }
const groups = []; // of { root, fields }

const MAKERS = {
  choice: (option) => {
    const unset = option.default === null ? [{ value: "", label: `Default: ${option.default_text}` }] : [];
    const entries = [...unset, ...option.control.choices].map(({ value, label }) =>
      element("option", { value, selected: value === String(option.default ?? "") }, label));
    return [element("select", {}, ...entries)];
  },
  number: (option) => {
    const { min, max, step } = option.control;
    const hint = option.default === null ? { placeholder: option.default_text } : { value: option.default };
    return [element("input", { type: "number", inputmode: "decimal", min, max, step, ...hint })];
  },
  switch: (option) => [element("input", { type: "checkbox", checked: option.default })],
  // Left empty, a text has its default: the suggestions then show all texts, not only those like the default.
  text: (option) => {
    const { pattern, suggestions } = option.control;
    const attributes = { type: "text", autocomplete: "off", spellcheck: "false", pattern, placeholder: option.default_text };
    if (!suggestions.length) return [element("input", attributes)];
    const list = element("datalist", { id: `suggestions-${option.name}` }, ...suggestions.map((value) => element("option", { value })));
    return [element("input", { ...attributes, list: list.id }), list];
  },
};

// Builds a field for every option but those that the page asks for in another way.
export function buildOptions(list, asked) {
  for (const group of list.groups) {
    const inside = group.options.filter((option) => !asked.includes(option.name)).map(fieldOf);
    const grid = element("div", { className: "grid" }, ...inside.map((field) => field.root));
    const root = element("fieldset", { className: "option-group" }, element("legend", {}, group.title), grid);
    fields.push(...inside);
    groups.push({ root, fields: inside });
  }
  place.replaceChildren(...groups.map((group) => group.root));
  showOptionsOf({ id: "", unavailable: {} }); // until the models are known
}

function fieldOf(option) {
  const [control, ...others] = MAKERS[option.control.type](option);
  control.name = option.name;
  control.id = `option-${option.name}`;
  const help = [];
  if (option.explanation) {
    help.push(element("span", { className: "help", id: `help-${option.name}` }, option.explanation));
    control.setAttribute("aria-describedby", help[0].id);
  }
  const kind = option.control.type === "switch" ? "field switch" : "field";
  const root = element("div", { className: kind }, element("label", { for: control.id }, option.label), control, ...others, ...help);
  return { option, root, control };
}

// Shows the options that a model has, and only choices that the server can serve for it; what is hidden is not sent.
export function showOptionsOf(model) {
  for (const { option, root, control } of fields) {
    root.hidden = control.disabled = option.models.length > 0 && !option.models.includes(model.id);
    if (option.control.type === "choice") hideChoices(control, model.unavailable[option.name] ?? []);
  }
  for (const group of groups) group.root.hidden = group.fields.every((field) => field.root.hidden);
}

function hideChoices(control, unavailable) {
  for (const choice of control.options) choice.hidden = choice.disabled = unavailable.includes(choice.value);
  if (control.selectedOptions[0]?.disabled) control.value = [...control.options].find((choice) => !choice.disabled)?.value ?? "";
}

// Fills in the values of another job; what has its default is left as the form shows it at first.
export function fillOptions(settings) {
  for (const { option, control } of fields) {
    const value = settings[option.name] ?? null;
    const isDefault = value === null || value === option.default;
    if (control.type === "checkbox") control.checked = Boolean(value);
    else if (isDefault && option.control.type === "text") control.value = "";
    else control.value = value ?? "";
    control.removeAttribute("aria-invalid");
  }
}

// Gives the values as the form shows them, by name, in a shape that `fillOptions` takes.
export function readOptions() {
  const value = (control) => (control.type === "checkbox" ? control.checked : control.value || null);
  return Object.fromEntries(fields.map(({ option, control }) => [option.name, value(control)]));
}

// Says what the browser finds wrong with a control; empty if nothing is. Steps are for its arrows alone.
export function faultOf(control) {
  const { badInput, patternMismatch, rangeOverflow, rangeUnderflow } = control.validity;
  if (!control.willValidate || !(badInput || patternMismatch || rangeOverflow || rangeUnderflow)) return "";
  const option = fields.find((field) => field.control === control)?.option;
  return [control.validationMessage, patternMismatch ? option?.explanation : ""].filter(Boolean).join(" ");
}

// Gives what is to be sent for a control; null for nothing.
export function valueOf(control) {
  if (control.type === "checkbox") return String(control.checked);
  return control.value === "" ? null : control.value;
}
