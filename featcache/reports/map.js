"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const plot = document.getElementById("plot");
const card = document.getElementById("card");
const method = document.getElementById("method");
const by = document.getElementById("by");

function traces() {
  const [x, y] = data.maps[method.value];
  return Object.entries(data.colors[by.value]).map(([name, color]) => {
    const mine = data.group.map((_, i) => i).filter((i) => data[by.value][i] === name);
    return {
      type: data.type,
      mode: "markers",
      name: `${name} (${mine.length})`,
      x: mine.map((i) => x[i]),
      y: mine.map((i) => y[i]),
      customdata: mine,
      hoverinfo: "none",
      marker: { color, size: mine.length > 1000 ? 5 : 7, opacity: 0.75, symbol: name === "real" ? "circle" : "triangle-up" },
    };
  });
}

function draw() {
  const style = getComputedStyle(document.body);
  const [ink, line] = [style.color, style.getPropertyValue("--line")];
  const [x, y] = data.axes[method.value];
  const axis = (title) => ({ title: { text: title }, gridcolor: "rgba(128,128,128,0.2)", zeroline: false });
  Plotly.react(plot, traces(), {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, family: style.fontFamily },
    margin: { l: 45, r: 10, t: 10, b: 45 },
    legend: { orientation: "h", y: -0.1 },
    xaxis: axis(x),
    yaxis: axis(y),
    hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "#8b929a", activecolor: ink },
  }, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "sendDataToCloud"] });
}

draw();
plot.on("plotly_hover", ({ points }) => {
  const i = points[0].customdata;
  const uri = data.pictures[i];
  const picture = document.getElementById("picture");
  picture.hidden = !uri;
  if (uri) picture.src = uri;
  picture.alt = `${data.generator[i]}: ${data.names[i]}`;
  document.getElementById("words").textContent = `${data.generator[i]} · ${data.names[i]}`;
  card.hidden = false;
});
plot.on("plotly_unhover", () => { card.hidden = true; });
method.addEventListener("change", draw);
by.addEventListener("change", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
