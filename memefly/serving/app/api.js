// What the service is asked, and what came of it: answers, or an `Away` that says in words what is wrong.

export class Away extends Error {
  constructor(reason, detail, seconds = 0) {
    super(detail);
    this.reason = reason;
    this.seconds = seconds; // after which to ask again
  }
}

const SAID = {
  too_large: "This picture is too large. Make it smaller, and try again.",
  not_a_picture: "This file is no picture that can be read. JPEG, PNG, WebP and GIF can.",
  truncated: "This picture breaks off or is damaged.",
  empty_file: "This file is empty.",
  unsafe: "Nothing may be said of this: the words do not pass the safety filter.",
  busy: "Too many people ask at once. It is tried again in a moment.",
  too_often: "You ask faster than is allowed here. Wait a little.",
  too_many_at_once: "One after the other, please: wait for the last answer.",
  no_model: "There is no model that answers right now. Your own words can still be written.",
  no_key: "A key is needed here, and yours is not known.",
  offline: "You are offline, or the server cannot be reached.",
};

let key = sessionStorage.getItem("key") || "";

async function ask(path, options = {}) {
  const sent = key;
  const headers = { ...(options.headers || {}), ...(sent ? { Authorization: `Bearer ${sent}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away("offline", SAID.offline);
  }
  if (answer.ok) return answer;
  let told = { reason: "failed", detail: `The server answers ${answer.status}.` };
  try {
    const said = await answer.json();
    told = said.error || (said.results && said.results[0] && said.results[0].error) || told;
  } catch { /* not JSON: a proxy's own page */ }
  if (answer.status === 401) {
    // Several may be on their way when a key is wanted: it is asked for once.
    const given = sent !== key ? key : window.prompt("An API key is needed here:");
    if (given) {
      key = given.trim();
      sessionStorage.setItem("key", key);
      return ask(path, options);
    }
  }
  throw new Away(told.reason, SAID[told.reason] || told.detail, Number(answer.headers.get("Retry-After")) || 0);
}

// Tried again where the server is busy, as often as it takes it for a moment.
async function patiently(path, options) {
  for (let left = 3; ; left--) {
    try {
      return await ask(path, options);
    } catch (error) {
      if (!(error instanceof Away) || error.reason !== "busy" || !left) throw error;
      await new Promise((done) => setTimeout(done, 1000 * (error.seconds || 1)));
    }
  }
}

const query = (values) => new URLSearchParams(
  Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== ""));

export const model = async () => (await ask("v1/model")).json();

export const templates = async (search, signal) =>
  (await ask(`v1/templates?${query({ search, limit: 100 })}`, { signal })).json();

export const template = async (name) => (await ask(`v1/templates/${encodeURIComponent(name)}`)).json();

// As a Blob, for an <img> would send no key.
export const picture = async (template, size) => (await ask(`${template.picture.slice(1)}?${query({ size })}`)).blob();

// `ground` is {template: key} or {file: Blob}.
const body = (ground) => ground.file ? { body: ground.file, headers: { "Content-Type": ground.file.type || "application/octet-stream" } } : {};

const place = (ground, what) => ground.template ? `v1/templates/${encodeURIComponent(ground.template)}/${what}` : `v1/${what}`;

export async function memes(ground, { n, prefix, seed }, signal) {
  const path = `${place(ground, "memes")}?${query({ n, prefix, seed, size: 240, format: "webp", mark: false })}`;
  const said = await (await patiently(path, { method: "POST", signal, ...body(ground) })).json();
  return said.results[0]; // an error of the only picture came as one of the request
}

export async function look(ground, caption, signal) {
  const path = `${place(ground, "look")}?${query({ caption })}`;
  return (await (await patiently(path, { method: "POST", signal, ...body(ground) })).json()).words;
}

export async function render(ground, wanted, signal) {
  const options = { method: "POST", signal };
  if (ground.file) {
    options.body = new FormData();
    options.body.append("meme", JSON.stringify(wanted));
    options.body.append("picture", ground.file, "picture");
  } else {
    options.body = JSON.stringify(wanted);
    options.headers = { "Content-Type": "application/json" };
  }
  const answer = await patiently(place(ground, "render"), options);
  return { blob: await answer.blob(), alt: decodeURIComponent(answer.headers.get("X-Memefly-Alt") || "") };
}
