// A link that holds a template and words, and places of text boxes where they were moved: behind the #, which no server
// is sent. A picture is never in it.

export function write(template, texts, boxes) {
  const said = new URLSearchParams({ t: template });
  for (const text of texts) said.append("w", text);
  if (boxes) said.set("b", JSON.stringify(boxes));
  return `${location.origin}${location.pathname}#${said}`;
}

export function read() {
  const said = new URLSearchParams(location.hash.slice(1));
  if (!said.get("t")) return null;
  let boxes = null;
  try {
    boxes = JSON.parse(said.get("b"));
  } catch { /* somebody cut the link: the template's own boxes will do */ }
  const whole = Array.isArray(boxes) && boxes.length && boxes.length <= 20 &&
    boxes.every((box) => ["x", "y", "width", "height"].every((name) => Number.isFinite(box && box[name])));
  return { template: said.get("t"), texts: said.getAll("w").slice(0, 20), boxes: whole ? boxes : null };
}
