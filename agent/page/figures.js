"use strict";
// The figures of a run, each drawn from the JSON in the page; all of them again when the window changes.

const CONTENT = JSON.parse(document.getElementById("content").textContent);
const COLOUR = {plan: "#1f6f8b", test: "#b3541e", dense: "#98a2ae", limit: "#8a2432", light: "#c3cad2"};
const LEVEL_COLOUR = {
  dram: "#332288", glb: "#44aa99", noc: "#ddcc77", rf: "#cc6677", mac: "#882255", static: "#98a2ae",
};

const TEST_SHIFT = 11;  // pixels by which the test result is drawn lower, so that it hides nothing

function padded(values, share) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * share;
  return [low - room, high + room];
}

function heightsFor(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const logY = low > 0 && high / low > 4;
  return {logY, y: logY ? [low / 1.25, high * 1.25] : [0, high * 1.08]};
}

function frontier(host) {
  const data = CONTENT.frontier;
  const drops = data.plans.flatMap((plan) => [plan.drop, plan.low, plan.high, plan.predicted])
    .concat(data.chosen.flatMap((split) => [split.low, split.high, split.drop]), [0, data.limit * 1.15]);
  const reach = Math.max(4 * data.limit, 3);
  const x = padded(drops.filter((value) => value !== null && value <= reach), 0.05);
  const inside = (plan) => plan.drop <= x[1];
  const shown = data.plans.filter(inside), measured = data.measured.filter(inside);
  const heights = shown.concat(measured).map((plan) => plan.objective).concat(data.objective);
  const axes = new Axes(host, {
    height: host.clientWidth < 560 ? 360 : 430, x, ...heightsFor(heights), title: "frontier",
    xLabel: "accuracy drop against the network as given (points)",
    yLabel: `${data.name} (${data.unit})`,
  });
  axes.line([[data.limit, axes.options.y[0]], [data.limit, axes.options.y[1]]], {stroke: COLOUR.limit, "stroke-dasharray": "5 4"});
  for (const plan of measured) {
    axes.mark(plan.drop, plan.objective, "circle", {r: 2.5, fill: COLOUR.light});
  }
  const order = [...shown].sort((one, other) => one.drop - other.drop);
  axes.steps(order.map((plan) => [plan.drop, plan.objective]), {stroke: COLOUR.plan, "stroke-width": 1, opacity: 0.5});
  for (const plan of shown) axes.interval(Math.max(plan.low, x[0]), Math.min(plan.high, x[1]), plan.objective, "#9cc3d1");
  for (const plan of shown) {
    if (plan.predicted <= x[1]) {
      axes.mark(plan.predicted, plan.objective, "diamond",
        {r: 4, fill: "#fff", stroke: COLOUR.plan, "stroke-width": 1.5, "data-kind": "predicted"}, plan.text);
    }
  }
  for (const plan of shown) {
    axes.mark(plan.drop, plan.objective, "circle",
      {r: 5.5, fill: COLOUR.plan, "data-kind": "validation"}, plan.text);
  }
  for (const split of data.chosen) {
    const test = split.split === "test";
    const colour = test ? COLOUR.test : COLOUR.plan;
    const lower = test ? TEST_SHIFT : 0;
    axes.interval(Math.max(split.low, x[0]), Math.min(split.high, x[1]), data.objective, colour, lower);
    axes.mark(Math.min(split.drop, x[1]), data.objective, test ? "square" : "circle",
      {r: test ? 5.5 : 7, fill: colour, stroke: "#fff", "stroke-width": 1.5, lower, "data-kind": split.split}, split.text);
  }
  const entries = [
    ["circle", COLOUR.plan, "validation, 95 % interval"],
    ["diamond", COLOUR.plan, "predicted", true],
    ["circle", COLOUR.light, "other measured plans"],
    ["dashed", COLOUR.limit, `limit ${brief(data.limit)} points`],
  ];
  if (data.chosen.some((split) => split.split === "test")) entries.splice(1, 0, ["square", COLOUR.test, "test, 95 % interval"]);
  legend(host, entries);
  const outside = data.measured.length - measured.length;
  if (outside) remark(host, `${outside} of ${data.measured.length} measured plans lie right of the picture.`);
}

function remark(host, text) {
  const line = document.createElement("p");
  line.className = "note";
  line.textContent = text;
  host.appendChild(line);
}

function energy(host) {
  host.replaceChildren();
  const width = Math.max(host.clientWidth, 160);
  const views = CONTENT.energy;
  const left = 52, right = 60, row = 22, gap = 46;
  const svg = node("svg", {viewBox: `0 0 ${width} ${views.length * (2 * row + gap)}`,
    height: views.length * (2 * row + gap), role: "img", "aria-label": "energy by memory level"}, host);
  views.forEach(([view, sides], at) => {
    const top = at * (2 * row + gap);
    node("text", {x: 0, y: top + 14, style: "font-weight:600;fill:#1b2430"}, svg, view + " view");
    const most = Math.max(...Object.values(sides).map(total));
    Object.entries(sides).forEach(([side, levels], line) => {
      const y = top + 24 + line * row;
      node("text", {x: 0, y: y + 13}, svg, side);
      let from = left;
      for (const [level, value] of Object.entries(levels)) {
        const length = (value / most) * (width - left - right);
        const bar = node("rect", {x: from, y, width: length, height: row - 5, fill: LEVEL_COLOUR[level]}, svg);
        explain(bar, [`${level.toUpperCase()}, ${side}`, `${brief(value)} uJ`, `${(100 * value / total(levels)).toFixed(1)} % of ${side}`]);
        from += length;
      }
      node("text", {x: from + 6, y: y + 13}, svg, brief(total(levels)) + " uJ");
    });
  });
  const used = Object.keys(LEVEL_COLOUR).filter((level) => views.some(([, sides]) => sides.dense[level] > 0));
  legend(host, used.map((level) => ["square", LEVEL_COLOUR[level], level.toUpperCase()]));
}

function total(levels) {
  return Object.values(levels).reduce((sum, value) => sum + value, 0);
}

function fidelity(host) {
  const data = CONTENT.fidelity;
  if (!data) return empty(host, "Not measured yet: the held-out plans come last in a run.");
  const both = data.predicted.concat(data.measured);
  const range = padded(both, 0.06);
  const axes = new Axes(host, {height: Math.min(host.clientWidth, 480), x: range, y: range, title: "fidelity",
    xLabel: "predicted drop (points)", yLabel: "measured drop (points)"});
  axes.line([[range[0], range[0]], [range[1], range[1]]], {stroke: "#9aa4b0", "stroke-dasharray": "4 4"});
  data.predicted.forEach((value, at) => {
    axes.mark(value, data.measured[at], "circle", {r: 5, fill: COLOUR.plan, "fill-opacity": 0.75},
      [`held-out plan ${at + 1}`, `predicted drop ${value.toFixed(2)} points`, `measured drop ${data.measured[at].toFixed(2)} points`]);
  });
  return legend(host, [["circle", COLOUR.plan, "held-out plan"], ["dashed", "#9aa4b0", "predicted = measured"]]);
}

function search(host) {
  const plans = CONTENT.frontier.measured;
  if (!plans.length) {
    empty(host, "No plan has been measured yet.");
    return;
  }
  const objectives = plans.map((plan) => plan.objective);
  const axes = new Axes(host, {height: 260, x: [0.5, plans.length + 0.5], ...heightsFor(objectives),
    title: "search", xLabel: "measured evaluations", yLabel: `${CONTENT.frontier.name} (${CONTENT.frontier.unit})`});
  const best = (finalist) => plans.map((plan, at) => [at + 1, plan.best, plan.finalist])
    .filter(([, value, last]) => value !== null && last === finalist);
  for (const part of [best(false), best(true)]) {
    if (part.length) axes.steps(part, {stroke: COLOUR.plan, "stroke-width": 2});
  }
  const first = plans.findIndex((plan) => plan.finalist);
  if (first > 0) {
    axes.line([[first + 0.5, axes.options.y[0]], [first + 0.5, axes.options.y[1]]], {stroke: COLOUR.dense, "stroke-dasharray": "2 3"});
  }
  plans.forEach((plan, at) => {
    const within = plan.drop <= CONTENT.frontier.limit;
    axes.mark(at + 1, plan.objective, "circle",
      {r: 4, fill: within ? COLOUR.plan : "#fff", stroke: within ? COLOUR.plan : COLOUR.dense, "stroke-width": 1.5}, plan.text);
  });
  legend(host, [["line", COLOUR.plan, "best within the limits"], ["circle", COLOUR.plan, "measured, within the drop limit"],
    ["circle", COLOUR.dense, "measured, beyond it", true]]);
  if (first > 0) {
    remark(host, `Right of the dotted line: finalists, measured on all validation images. A plan that kept the limit on the
      images of the search need not keep it there.`);
  }
}

function curves(host) {
  const found = Object.entries(CONTENT.curves);
  if (!found.length) return empty(host, "This run trained no agent, or has not begun to.");
  host.replaceChildren();
  for (const [name, points] of found) {
    const panel = document.createElement("div");
    const title = document.createElement("h4");
    const plot = document.createElement("div");
    title.textContent = name;
    panel.append(title, plot);
    host.appendChild(panel);
    const axes = new Axes(plot, {height: 120, small: true, title: name, x: padded(points.map(([x]) => x), 0),
      y: padded(points.map(([, y]) => y), 0.08)});
    axes.line(points, {stroke: COLOUR.plan, "stroke-width": 1.5});
    const [step, value] = points[points.length - 1];
    axes.mark(step, value, "circle", {r: 3.5, fill: COLOUR.plan}, [name, `step ${step.toLocaleString("en")}`, brief(value)]);
  }
  return undefined;
}

const FIGURES = {frontier, energy, fidelity, search, curves};

function drawAll() {
  for (const host of document.querySelectorAll("[data-figure]")) FIGURES[host.dataset.figure](host);
}

let drawnWidth = 0;
window.addEventListener("resize", () => {
  const width = document.documentElement.clientWidth;
  if (width === drawnWidth) return;
  drawnWidth = width;
  drawAll();
});
drawnWidth = document.documentElement.clientWidth;
drawAll();
