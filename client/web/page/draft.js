// Keeps what was set in the form over a reload, and warns before chosen files are lost, which cannot be kept.

const KEY = "lipsync-draft";
let isUnsent = false;

export function keepDraft(form, valuesOf) {
  const save = () => sessionStorage.setItem(KEY, JSON.stringify(valuesOf()));
  form.addEventListener("change", save);
  addEventListener("beforeunload", (event) => isUnsent && event.preventDefault());
  return save;
}

// Returns the values that were kept; null for none.
export function keptDraft() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}

export function markUnsent(isNow) {
  isUnsent = isNow;
}
