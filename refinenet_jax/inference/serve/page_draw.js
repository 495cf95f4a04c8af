"use strict";

// What page.js draws with; it knows nothing of the page.

const percent = (share) => (100 * share).toFixed(share < 0.1 ? 2 : 1) + " %";

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function swatch(colour) {
  const node = element("span", {className: "swatch"});
  node.style.background = colour;
  return node;
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

// Draws the mask into two canvases of the size shown: what is tinted, and its edges.
async function layers(answer, width, height) {
  const blob = new Blob([bytes(answer.mask)], {type: "image/png"});
  const mask = await createImageBitmap(blob, {
    resizeWidth: width, resizeHeight: height, resizeQuality: "pixelated", colorSpaceConversion: "none",
  });
  const [tint, edge] = [0, 1].map(() => element("canvas", {width, height}));
  const context = tint.getContext("2d", {willReadFrequently: true});
  context.drawImage(mask, 0, 0);
  const filled = context.getImageData(0, 0, width, height);
  const lines = new ImageData(width, height);
  const [from, to] = [filled.data, new Uint32Array(lines.data.buffer)];
  const colours = answer.classes.map(({id, colour}) => {
    const value = parseInt(colour.slice(1), 16);
    return id && 0xff000000 + ((value & 255) << 16) + (value & 0xff00) + (value >> 16);
  });
  const ids = new Uint8Array(width * height);
  for (let i = 0; i < ids.length; i++) ids[i] = from[4 * i];
  const thick = Math.max(1, Math.round(Math.min(width, height) / 240));
  const paint = new Uint32Array(from.buffer);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const id = ids[i];
      paint[i] = colours[id];
      if (id && ((x >= thick && ids[i - thick] !== id) || (x + thick < width && ids[i + thick] !== id)
          || (y >= thick && ids[i - thick * width] !== id) || (y + thick < height && ids[i + thick * width] !== id))) {
        to[i] = colours[id];
      }
    }
  }
  context.putImageData(filled, 0, 0);
  edge.getContext("2d").putImageData(lines, 0, 0);
  return {tint, edge};
}

// The tracks, each {colour, shares}, as lines that fill the width; `most` is at the top.
function chart(tracks, most) {
  const make = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const svg = make("svg", {viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img",
    "aria-label": `Share of the frame over time, at most ${percent(most)}`});
  for (const {colour, shares} of tracks) {
    const last = Math.max(shares.length - 1, 1);
    const points = shares.map((share, i) => `${(100 * i / last).toFixed(2)},${(98 - 94 * share / most).toFixed(2)}`);
    svg.append(make("polyline", {points: points.join(" "), stroke: colour}));
  }
  return svg;
}
