"use strict";
// Which pictures are shown.
for (const choice of document.querySelectorAll("input[name=show]")) {
  choice.addEventListener("change", () => {
    for (const figure of document.querySelectorAll(".gallery figure")) {
      figure.hidden = choice.value !== "all" && !figure.dataset.tags.split(" ").includes(choice.value);
    }
  });
}

// Where the model looked for a word: dark over the picture where it did not.
function look(button) {
  const figure = button.closest("figure"), canvas = figure.querySelector("canvas"), image = figure.querySelector("img");
  const map = Uint8Array.from(atob(button.dataset.map), (c) => c.charCodeAt(0));
  const pixels = new ImageData(canvas.width, canvas.height);
  map.forEach((value, i) => { pixels.data[4 * i + 3] = Math.round(205 * (1 - value / 255)); });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  // Over the picture alone, which is fitted into its square frame; it may still be on its way.
  image.decode().then(() => {
    const scale = image.clientWidth / Math.max(image.naturalWidth, image.naturalHeight);
    canvas.style.width = `${image.naturalWidth * scale}px`;
    canvas.style.height = `${image.naturalHeight * scale}px`;
  });
  canvas.hidden = false;
  for (const other of figure.querySelectorAll(".words button")) other.setAttribute("aria-pressed", other === button);
}
function close(figure) {
  figure.querySelector("canvas").hidden = true;
  for (const button of figure.querySelectorAll(".words button")) button.setAttribute("aria-pressed", false);
}
for (const words of document.querySelectorAll(".words")) {
  const figure = words.closest("figure"), buttons = [...words.querySelectorAll("button")];
  let chosen = null; // stays when the mouse goes
  const choose = (button) => { chosen = button; button ? look(button) : close(figure); };
  for (const button of buttons) {
    button.addEventListener("mouseenter", () => look(button));
    button.addEventListener("click", () => choose(chosen === button ? null : button));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") choose(null);
      if (!step) return;
      event.preventDefault();
      const next = buttons[(buttons.indexOf(button) + step + buttons.length) % buttons.length];
      buttons.forEach((other) => { other.tabIndex = other === next ? 0 : -1; });
      next.focus();
      choose(next);
    });
  }
  words.addEventListener("mouseleave", () => choose(chosen));
}

// The map shows the pictures of the gallery, which the file holds once.
const pictures = document.querySelectorAll(".gallery .frame img");
document.querySelectorAll(".map img").forEach((image, i) => { image.src = pictures[i].src; });
