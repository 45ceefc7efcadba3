// The text boxes on a picture: moved, sized and turned, with a pointer or with keys. All measures are shares of the
// picture; `angle` is in degrees, counter-clockwise, around a box's middle, as the service has it.

const LEAST = 0.04;
const within = (value, low, high) => Math.min(high, Math.max(low, value));
const rounded = (box) => ({ ...box, x: +box.x.toFixed(4), y: +box.y.toFixed(4), width: +box.width.toFixed(4),
  height: +box.height.toFixed(4), angle: +box.angle.toFixed(1) });

export class Stage {
  #element; #boxes = []; #changed;

  // `changed(boxes)` is called as they change; `boxes` are objects of x, y, width, height, angle and what else they have.
  constructor(element, changed) {
    this.#element = element;
    this.#changed = changed;
  }

  show(boxes, labels) {
    this.#boxes = boxes.map((box) => ({ angle: 0, ...box }));
    const there = [...this.#element.children];
    if (there.length !== boxes.length) this.#element.replaceChildren(...boxes.map((_, i) => this.#of(i)));
    [...this.#element.children].forEach((element, i) => {
      this.#place(element, this.#boxes[i]);
      element.setAttribute("aria-label", `Text box ${i + 1}${labels[i] ? `: ${labels[i]}` : ""}. Arrow keys move it, with ` +
        "Shift they size it, with Alt they turn it.");
    });
  }

  #of(i) {
    const element = document.createElement("div");
    element.className = "box";
    element.tabIndex = 0;
    element.setAttribute("role", "group");
    element.setAttribute("aria-roledescription", "text box");
    const size = document.createElement("div"), turn = document.createElement("div");
    size.className = "handle size";
    turn.className = "handle turn";
    element.append(size, turn);
    element.addEventListener("pointerdown", (event) => this.#grab(event, element, i));
    element.addEventListener("keydown", (event) => this.#key(event, element, i));
    return element;
  }

  #place(element, box) {
    Object.assign(element.style, { left: `${100 * box.x}%`, top: `${100 * box.y}%`, width: `${100 * box.width}%`,
      height: `${100 * box.height}%`, transform: box.angle ? `rotate(${-box.angle}deg)` : "" });
  }

  #set(element, i, change) {
    const box = { ...this.#boxes[i], ...change };
    box.width = within(box.width, LEAST, 1);
    box.height = within(box.height, LEAST, 1);
    box.x = within(box.x, 0, 1 - box.width);
    box.y = within(box.y, 0, 1 - box.height);
    box.angle = ((box.angle + 540) % 360) - 180;
    this.#boxes[i] = rounded(box);
    this.#place(element, this.#boxes[i]);
    this.#changed(this.#boxes.map((one) => ({ ...one })));
  }

  #grab(event, element, i) {
    if (event.button) return;
    event.preventDefault();
    element.focus();
    element.setPointerCapture(event.pointerId);
    element.classList.add("held");
    const whole = this.#element.getBoundingClientRect(), before = { ...this.#boxes[i] };
    const kind = event.target.classList.contains("size") ? "size" : event.target.classList.contains("turn") ? "turn" : "move";
    const middle = { x: whole.left + (before.x + before.width / 2) * whole.width,
      y: whole.top + (before.y + before.height / 2) * whole.height };
    const move = (now) => {
      const right = (now.clientX - event.clientX) / whole.width, down = (now.clientY - event.clientY) / whole.height;
      if (kind === "move") this.#set(element, i, { x: before.x + right, y: before.y + down });
      else if (kind === "size") {
        this.#set(element, i, { width: within(before.width + right, LEAST, 1 - before.x),
          height: within(before.height + down, LEAST, 1 - before.y) });
      } else {
        const angle = Math.atan2(now.clientX - middle.x, middle.y - now.clientY) * 180 / Math.PI;
        this.#set(element, i, { angle: -(Math.abs(angle) < 4 ? 0 : angle) }); // upright is easy to hit
      }
    };
    const end = () => {
      element.classList.remove("held");
      element.removeEventListener("pointermove", move);
      for (const over of ["pointerup", "pointercancel"]) element.removeEventListener(over, end);
    };
    element.addEventListener("pointermove", move);
    for (const over of ["pointerup", "pointercancel"]) element.addEventListener(over, end);
  }

  #key(event, element, i) {
    const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [];
    if (right === undefined) return;
    event.preventDefault();
    const box = this.#boxes[i], step = 0.01;
    if (event.altKey) this.#set(element, i, { angle: box.angle - 2 * (right + down) });
    else if (event.shiftKey) {
      this.#set(element, i, { width: within(box.width + step * right, LEAST, 1 - box.x),
        height: within(box.height + step * down, LEAST, 1 - box.y) });
    } else this.#set(element, i, { x: box.x + step * right, y: box.y + step * down });
  }
}
