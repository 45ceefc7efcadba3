// The page: a picture or a template, captions to choose from, words and boxes to change, a meme to take along.

import * as api from "./api.js";
import * as heat from "./heat.js";
import * as link from "./link.js";
import { prepared } from "./picture.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const BOXES = [
  { x: 0.01, y: 0.01, width: 0.98, height: 0.26, anchor: "top", angle: 0 },
  { x: 0.01, y: 0.73, width: 0.98, height: 0.26, anchor: "bottom", angle: 0 },
];
const MOST_BOXES = 20, MEMES = 6, PAUSE = 220; // milliseconds after the last change

const state = { ground: null, name: "", boxes: [], own: [], texts: [], moved: false, caption: "", shown: null };
const stage = new Stage($("boxes"), (boxes) => {
  Object.assign(state, { boxes, moved: true });
  later();
});

function tell(text, kind = "") {
  $("message").textContent = text;
  $("message").className = `message ${kind}`;
}

function wrong(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof api.Away)) console.error(error);
  tell(error instanceof api.Away ? error.message : "Something went wrong on this page.", "wrong");
}

// --- a picture -------------------------------------------------------------------------------------------------------

async function take(file) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) return tell("This file is no picture.", "wrong");
  tell("Reads the picture …", "working");
  await begin({ file: await prepared(file) }, file.name || "your picture", BOXES, ["", ""]);
}

async function begin(ground, name, boxes, texts, moved = false) {
  const own = boxes.map((box) => ({ ...box }));
  Object.assign(state, { ground, name, boxes: own, own, texts, moved, caption: "", shown: null });
  $("choices-part").hidden = $("look").hidden = true;
  $("share").hidden = !ground.template;
  for (const one of $("templates").querySelectorAll("button")) {
    one.setAttribute("aria-pressed", String(one.dataset.key === ground.template));
  }
  fields();
  if (await draw()) {
    $("workplace").hidden = false;
    tell(`${name}: write words on it, or let the model write them.`);
    $("make").focus({ preventScroll: true });
    $("make").scrollIntoView({ block: "nearest" });
  }
}

// --- the meme as it is now -------------------------------------------------------------------------------------------

let timer = 0, drawing = null;

function later() {
  clearTimeout(timer);
  timer = setTimeout(draw, PAUSE);
}

async function draw() {
  clearTimeout(timer);
  if (drawing) drawing.abort();
  const mine = drawing = new AbortController();
  try {
    const { blob, alt } = await api.render(state.ground, { texts: state.texts, boxes: state.boxes, size: 900 }, mine.signal);
    if (mine.signal.aborted) return false;
    const before = $("picture").src;
    $("picture").src = URL.createObjectURL(blob);
    $("picture").alt = alt;
    $("alt").textContent = alt;
    if (before.startsWith("blob:")) URL.revokeObjectURL(before);
    stage.show(state.boxes, state.texts);
    if ($("message").classList.contains("wrong")) tell("Here it is.");
    return true;
  } catch (error) {
    wrong(error);
    return false;
  }
}

function fields() {
  $("texts").replaceChildren(...state.texts.map((text, i) => {
    const part = document.createElement("div"), label = document.createElement("label"), row = document.createElement("div");
    const area = document.createElement("textarea"), remove = document.createElement("button");
    part.className = "text";
    row.className = "row";
    area.id = `text-${i}`;
    area.value = text;
    area.dir = "auto";
    area.maxLength = 500;
    area.rows = 1;
    label.htmlFor = area.id;
    label.textContent = `Text box ${i + 1}`;
    area.addEventListener("input", () => {
      state.texts[i] = area.value;
      later();
    });
    remove.type = "button";
    remove.textContent = "✕";
    remove.setAttribute("aria-label", `Remove text box ${i + 1}`);
    remove.disabled = state.texts.length < 2;
    remove.addEventListener("click", () => {
      state.texts.splice(i, 1);
      state.boxes = state.boxes.filter((_, at) => at !== i);
      state.moved = true;
      fields();
      draw();
    });
    row.append(area, remove);
    part.append(label, row);
    return part;
  }));
  $("add").disabled = state.texts.length >= MOST_BOXES;
}

// --- captions --------------------------------------------------------------------------------------------------------

async function write() {
  const ground = state.ground;
  $("write").disabled = true;
  tell("The model looks at it …", "working");
  try {
    const prefix = $("begin").value.replace(/\s+$/, (blank) => (blank.includes("\n") ? "\n" : ""));
    const made = await api.memes(ground, { n: MEMES, prefix, seed: Math.floor(Math.random() * 2 ** 31) });
    if (ground !== state.ground) return;
    choices(made);
    tell(`${made.memes.length} captions: pick one, and change what you like.`);
  } catch (error) {
    wrong(error);
  } finally {
    $("write").disabled = false;
  }
}

function choices({ boxes, memes }) {
  $("choices").replaceChildren(...memes.map((meme, i) => {
    const label = document.createElement("label"), radio = document.createElement("input"), image = document.createElement("img");
    label.className = "choice";
    radio.type = "radio";
    radio.name = "choice";
    radio.className = "hidden-input";
    image.src = `data:${meme.media_type};base64,${meme.image}`;
    image.alt = meme.texts.map((one) => one.text).filter(Boolean).join(" / ");
    radio.addEventListener("change", () => pick(meme, boxes));
    label.append(radio, image);
    if (!i) radio.checked = true;
    return label;
  }));
  $("choices-part").hidden = false;
  pick(memes[0], boxes);
}

function pick(meme, boxes) {
  if (!state.moved || state.boxes.length !== boxes.length) Object.assign(state, { boxes, moved: false });
  state.texts = meme.texts.map((one) => one.text);
  while (state.texts.length < state.boxes.length) state.texts.push("");
  state.caption = meme.caption;
  fields();
  draw();
  where();
}

// --- where it looked -------------------------------------------------------------------------------------------------

async function where() {
  const { ground, caption } = state;
  $("look").hidden = true;
  heat.clear($("heat"));
  let words;
  try {
    words = await api.look(ground, caption);
  } catch {
    return; // not every model can tell
  }
  if (ground !== state.ground || caption !== state.caption || !words.length) return;
  const buttons = words.filter(({ word }) => /[\p{L}\p{N}]/u.test(word)).map(({ word, weights }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "word";
    button.textContent = word;
    button.setAttribute("aria-pressed", "false");
    const on = () => {
      heat.draw($("heat"), weights);
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    };
    const off = () => {
      heat.clear($("heat"));
      button.setAttribute("aria-pressed", "false");
    };
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, on);
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, off);
    button.addEventListener("click", on);
    return button;
  });
  $("words").replaceChildren(...buttons);
  $("look").hidden = false;
}

// --- to take along ---------------------------------------------------------------------------------------------------

const whole = (format) => api.render(state.ground, { texts: state.texts, boxes: state.boxes, format, mark: Boolean(state.caption) });

async function download() {
  const format = $("format").value;
  try {
    const { blob } = await whole(format);
    const anchor = document.createElement("a"), address = URL.createObjectURL(blob);
    anchor.href = address;
    anchor.download = `${state.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}]+/gu, "-") || "meme"}-meme.${format === "jpeg" ? "jpg" : format}`;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
    tell("Downloaded.");
  } catch (error) {
    wrong(error);
  }
}

async function copy() {
  try {
    const png = whole("png").then(({ blob }) => blob); // the only picture that every clipboard takes
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
    tell("Copied.");
  } catch (error) {
    if (error instanceof api.Away) wrong(error);
    else tell("This browser does not let a page copy pictures; download it instead.", "wrong");
  }
}

async function share() {
  const address = link.write(state.ground.template, state.texts, state.moved ? state.boxes : null);
  try {
    if (navigator.share) await navigator.share({ title: state.name, url: address });
    else await navigator.clipboard.writeText(address);
    tell("The link holds the template and the words.");
  } catch (error) {
    if (error.name !== "AbortError") {
      history.replaceState(null, "", address);
      tell("The link is in the address bar.");
    }
  }
}

// --- templates -------------------------------------------------------------------------------------------------------

let searching = null, pausing = 0;

// Thumbnails are asked for when they come into view, and let go of when others take their place.
const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(thumbnail), { rootMargin: "200px" });
const pictures = new WeakMap();

async function thumbnail({ target }) {
  seen.unobserve(target);
  try {
    const address = URL.createObjectURL(await api.picture(pictures.get(target), 160));
    target.onload = target.onerror = () => URL.revokeObjectURL(address);
    target.src = address;
  } catch { /* its name is there */ }
}

async function find() {
  if (searching) searching.abort();
  searching = new AbortController();
  try {
    const { templates, total } = await api.templates($("search").value, searching.signal);
    $("found").textContent = total ? `${total} template${total > 1 ? "s" : ""}` : "None is found by these words.";
    seen.disconnect();
    $("templates").replaceChildren(...templates.map((template) => {
      const item = document.createElement("li"), button = document.createElement("button"), image = document.createElement("img");
      button.type = "button";
      button.dataset.key = template.key;
      button.setAttribute("aria-pressed", String(Boolean(state.ground) && state.ground.template === template.key));
      image.alt = "";
      pictures.set(image, template);
      seen.observe(image);
      button.append(image, template.name);
      button.addEventListener("click", () => open(template));
      item.append(button);
      return item;
    }));
    return total;
  } catch (error) {
    wrong(error);
    return 0;
  }
}

const open = (template, texts = null, boxes = null) => begin({ template: template.key }, template.name, boxes || template.boxes,
  (boxes || template.boxes).map((_, i) => (texts && texts[i]) || ""), Boolean(boxes));

async function opened() {
  const said = link.read();
  if (!said) return;
  try {
    await open(await api.template(said.template), said.texts, said.boxes);
  } catch (error) {
    wrong(error);
  }
}

// --- wiring ----------------------------------------------------------------------------------------------------------

for (const id of ["file", "camera"]) {
  $(id).addEventListener("change", () => {
    take($(id).files[0]);
    $(id).value = ""; // the same file may be chosen again
  });
}
for (const event of ["dragenter", "dragover"]) {
  document.addEventListener(event, (drag) => {
    drag.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const event of ["dragleave", "drop"]) document.addEventListener(event, () => $("drop").classList.remove("over"));
document.addEventListener("drop", (drop) => {
  drop.preventDefault();
  take(drop.dataTransfer.files[0]);
});
document.addEventListener("paste", (paste) => {
  const picture = [...paste.clipboardData.files].find((file) => file.type.startsWith("image/"));
  if (picture) take(picture);
});
$("write").addEventListener("click", write);
$("begin").addEventListener("keydown", (key) => key.key === "Enter" && write());
$("add").addEventListener("click", () => {
  state.boxes = [...state.boxes, { x: 0.2, y: 0.4, width: 0.6, height: 0.2, angle: 0 }];
  state.texts.push("");
  state.moved = true;
  fields();
  draw();
});
$("download").addEventListener("click", download);
$("copy").addEventListener("click", copy);
$("share").addEventListener("click", share);
$("search").addEventListener("input", () => {
  clearTimeout(pausing);
  pausing = setTimeout(find, PAUSE);
});
window.addEventListener("hashchange", opened);
window.addEventListener("offline", () => tell("You are offline.", "wrong"));
window.addEventListener("online", () => tell("You are online again."));

api.model().then(({ ready, model }) => {
  $("model").textContent = ready ? `A picture in, a meme out. Model ${model.version ?? ""}` : "No model answers right now; your own words can be written.";
}, wrong);
find().then((total) => {
  $("templates-part").hidden = !total;
  return opened();
});
