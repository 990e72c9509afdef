// Unpacks the library that the page carries, draws every figure, and draws them again when the page's colours change.

// The text that the page holds compressed in the element of that id.
async function unpacked(id) {
  const packed = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

(async () => {
  const figures = [...document.querySelectorAll(".plotly-figure")];
  if (!figures.length) return;
  try {
    await load();
  } catch (problem) {
    for (const figure of figures) figure.textContent = "This browser cannot draw the chart.";
    console.error(problem);
    return;
  }
  const drawn = () => {
    for (const figure of figures) draw(figure);
    document.documentElement.dataset.figures = figures.length;
  };
  drawn();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawn);

  async function load() {
    const script = document.createElement("script");
    script.textContent = await unpacked("plotly-library");
    document.head.append(script);
    if (!window.Plotly) throw new Error("the chart library did not start");
  }

  function draw(figure) {
    const style = getComputedStyle(document.documentElement);
    const { data, layout } = JSON.parse(figure.dataset.figure, (_, value) => {
      const variable = typeof value === "string" && /^var\((--[\w-]+)\)$/.exec(value);
      return variable ? style.getPropertyValue(variable[1]).trim() || value : value;
    });
    Plotly.react(figure, data, layout, { displayModeBar: false, responsive: true });
  }
})();
