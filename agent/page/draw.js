"use strict";
// Axes, marks and hover text in SVG, drawn to the width of their host so that text keeps its size on a phone.

const NAMESPACE = "http://www.w3.org/2000/svg";
const FONT_WIDTH = 6.7;

function node(name, attributes, parent, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

function ticks(low, high, wanted) {
  const span = high - low || 1;
  const power = Math.pow(10, Math.floor(Math.log10(span / wanted)));
  const step = power * [1, 2, 5, 10].find((factor) => span / (power * factor) <= wanted);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(at * step);
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const factor of [1, 2, 5]) {
      const value = factor * Math.pow(10, power);
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  }
  return found;
}

function brief(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return trimmed((value / 1e6).toPrecision(3)) + "M";
  if (size >= 1e4) return trimmed((value / 1e3).toPrecision(3)) + "k";
  if (size < 1e-3) return value.toExponential(1);
  return trimmed(value.toPrecision(4));
}

function trimmed(text) {
  return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
}

class Axes {
  // host: element; options: {height, x: [low, high], y: [low, high], xLabel, yLabel, logX, logY, small}
  constructor(host, options) {
    host.replaceChildren();
    this.options = options;
    this.width = Math.max(host.clientWidth, 160);
    this.height = options.height;
    this.yTicks = this.ticksOf("y", Math.max(3, Math.floor(this.height / (options.small ? 30 : 70))));
    const widest = Math.max(...this.yTicks.map((value) => brief(value).length), 1);
    this.left = 12 + widest * FONT_WIDTH;
    this.right = 14;
    this.top = options.yLabel ? 30 : 8;
    this.bottom = options.xLabel ? 44 : 22;
    this.svg = node("svg", {
      viewBox: `0 0 ${this.width} ${this.height}`, height: this.height, role: "img",
      "aria-label": options.title || options.yLabel || "",
    }, host);
    this.frame();
  }

  ticksOf(side, wanted) {
    const [low, high] = this.options[side];
    if (this.options[side === "x" ? "logX" : "logY"]) {
      const all = logTicks(low, high);
      return all.length > 1 ? all : [low, high];
    }
    return ticks(low, high, wanted);
  }

  share(side, value) {
    const [low, high] = this.options[side];
    const logarithmic = this.options[side === "x" ? "logX" : "logY"];
    const [a, b, c] = logarithmic ? [low, high, value].map((each) => Math.log10(Math.max(each, 1e-12))) : [low, high, value];
    return (c - a) / (b - a || 1);
  }

  x(value) { return this.left + this.share("x", value) * (this.width - this.left - this.right); }
  y(value) { return this.height - this.bottom - this.share("y", value) * (this.height - this.top - this.bottom); }

  frame() {
    const {options, svg} = this;
    const floor = this.height - this.bottom;
    for (const value of this.yTicks) {
      const at = this.y(value);
      node("line", {x1: this.left, x2: this.width - this.right, y1: at, y2: at, stroke: "#e6eaee"}, svg);
      node("text", {x: this.left - 6, y: at + 4, "text-anchor": "end"}, svg, brief(value));
    }
    const room = Math.max(2, Math.floor((this.width - this.left) / (options.small ? 62 : 74)));
    let clear = -Infinity;
    for (const value of this.ticksOf("x", room)) {
      const at = Math.min(this.x(value), this.width - brief(value).length * FONT_WIDTH / 2);
      const half = brief(value).length * FONT_WIDTH / 2 + 4;
      if (at - half < clear) continue;
      clear = at + half;
      node("line", {x1: this.x(value), x2: this.x(value), y1: floor, y2: floor + 4, stroke: "#9aa4b0"}, svg);
      node("text", {x: at, y: floor + 17, "text-anchor": "middle"}, svg, brief(value));
    }
    node("line", {x1: this.left, x2: this.width - this.right, y1: floor, y2: floor, stroke: "#9aa4b0"}, svg);
    if (options.xLabel) {
      node("text", {x: this.width - this.right, y: this.height - 6, "text-anchor": "end"}, svg, options.xLabel);
    }
    if (options.yLabel) node("text", {x: 0, y: 13}, svg, options.yLabel);
  }

  line(points, attributes) {
    const path = points.map(([x, y], at) => (at ? "L" : "M") + this.x(x).toFixed(1) + " " + this.y(y).toFixed(1)).join("");
    return node("path", {d: path, fill: "none", "stroke-linejoin": "round", ...attributes}, this.svg);
  }

  steps(points, attributes) {
    const corners = points.flatMap(([x, y], at) => (at ? [[x, points[at - 1][1]], [x, y]] : [[x, y]]));
    return this.line(corners, attributes);
  }

  interval(low, high, y, colour, lower = 0) {
    const [a, b, at] = [this.x(low), this.x(high), this.y(y) + lower];
    const path = `M${a} ${at - 4}V${at + 4}M${a} ${at}H${b}M${b} ${at - 4}V${at + 4}`;
    node("path", {d: path, stroke: colour, "stroke-width": 1.5, fill: "none", class: "interval"}, this.svg);
  }

  mark(x, y, shape, attributes, lines) {
    const {r = 5, lower = 0, ...rest} = attributes;
    const [a, b] = [this.x(x), this.y(y) + lower];
    const paths = {
      square: `M${a - r} ${b - r}h${2 * r}v${2 * r}h${-2 * r}z`,
      diamond: `M${a} ${b - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`,
    };
    const made = shape === "circle"
      ? node("circle", {cx: a, cy: b, r, ...rest}, this.svg)
      : node("path", {d: paths[shape], ...rest}, this.svg);
    if (lines) explain(made, lines);
    return made;
  }
}

function explain(target, lines) {
  const tip = document.getElementById("tip");
  target.classList.add("mark");
  target.setAttribute("tabindex", "0");
  target.setAttribute("aria-label", lines.join("; "));
  const show = () => {
    tip.replaceChildren(...lines.map((line) => {
      const row = document.createElement("div");
      row.textContent = line;
      return row;
    }));
    const box = target.getBoundingClientRect();
    const view = document.documentElement.clientWidth;
    const left = Math.min(Math.max(box.left + box.width / 2 - tip.offsetWidth / 2, 6), view - tip.offsetWidth - 6);
    const above = box.top - tip.offsetHeight - 10;
    tip.style.left = left + window.scrollX + "px";
    tip.style.top = (above < 4 ? box.bottom + 10 : above) + window.scrollY + "px";
    tip.style.visibility = "visible";
  };
  const hide = () => { tip.style.visibility = "hidden"; };
  target.addEventListener("pointerenter", show);
  target.addEventListener("pointerleave", hide);
  target.addEventListener("focus", show);
  target.addEventListener("blur", hide);
}

function legend(host, entries) {
  const list = document.createElement("div");
  list.className = "legend";
  for (const [shape, colour, text, hollow] of entries) {
    const item = document.createElement("span");
    const icon = node("svg", {width: 16, height: 12, viewBox: "0 0 16 12", style: "width:16px;flex:none"}, item);
    const paint = {fill: hollow ? "#fff" : colour, stroke: colour, "stroke-width": 1.5};
    if (shape === "circle") node("circle", {cx: 8, cy: 6, r: 4, ...paint}, icon);
    if (shape === "square") node("rect", {x: 3.5, y: 1.5, width: 9, height: 9, ...paint}, icon);
    if (shape === "diamond") node("path", {d: "M8 .5L13.5 6L8 11.5L2.5 6z", ...paint}, icon);
    if (shape === "line") node("path", {d: "M0 6H16", stroke: colour, "stroke-width": 2, fill: "none"}, icon);
    if (shape === "dashed") {
      node("path", {d: "M0 6H16", stroke: colour, "stroke-width": 2, fill: "none", "stroke-dasharray": "4 3"}, icon);
    }
    item.append(text);
    list.appendChild(item);
  }
  host.prepend(list);
}

function empty(host, text) {
  const box = document.createElement("p");
  box.className = "empty";
  box.textContent = text;
  host.replaceChildren(box);
}
