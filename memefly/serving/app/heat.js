// Where the model looked as it said a word: a map over the picture, bright where it looked.

export function draw(canvas, weights) {
  const [rows, columns] = [weights.length, weights[0].length];
  const small = new OffscreenCanvas(columns, rows), most = Math.max(...weights.flat());
  const pixels = new ImageData(columns, rows);
  weights.flat().forEach((weight, i) => {
    const share = weight / most;
    pixels.data.set([255 * share, 210 * share, 60 * share, 60 + 110 * share], 4 * i);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  canvas.width = canvas.clientWidth || 300;
  canvas.height = canvas.clientHeight || 300;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

export function clear(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}
