// Draws a page's figures with the book's own plotly.js: those near the window, for a
// browser keeps few WebGL contexts alive. A figure that is far is its picture again;
// without this script all stay pictures, and print always shows those.
(() => {
  const source = new URL("plotly.min.js", document.currentScript.src).href;
  const MOST_SCENES = 12; // browsers drop the oldest of some 16 contexts
  const near = new Set();
  let library;

  const plotly = () =>
    (library ??= new Promise((found, missing) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = () => found(window.Plotly);
      script.onerror = () => missing(new Error(`${source} is missing`));
      document.head.append(script);
    }));

  // Parsed once; Plotly writes into it how the reader has turned and zoomed.
  const content = (box) =>
    (box.content ??= JSON.parse(box.querySelector("script").textContent));

  const scenes = (box) =>
    Object.keys(content(box).layout).filter((key) => /^scene\d*$/.test(key)).length;

  const distance = (box) => {
    const { top, bottom } = box.getBoundingClientRect();
    return Math.abs((top + bottom) / 2 - window.innerHeight / 2);
  };

  const draw = async (box) => {
    if (box.wanted) return;
    box.wanted = true;
    const Plotly = await plotly();
    if (!box.wanted) return;
    const { data, layout } = content(box);
    const place = box.querySelector("div");
    box.classList.add("drawn");
    // The wheel belongs to the page.
    const settings = { responsive: true, displaylogo: false, scrollZoom: false };
    await Plotly.newPlot(place, data, layout, settings);
  };

  const clear = (box) => {
    if (!box.wanted) return;
    box.wanted = false;
    if (!box.classList.contains("drawn")) return;
    const place = box.querySelector("div");
    const canvases = [...place.querySelectorAll(".gl-container canvas")];
    window.Plotly.purge(place);
    place.replaceChildren();
    box.classList.remove("drawn");
    for (const canvas of canvases) {
      const context = canvas.getContext("webgl2") ?? canvas.getContext("webgl");
      context?.getExtension("WEBGL_lose_context")?.loseContext();
    }
  };

  const arrange = () => {
    let left = MOST_SCENES;
    const ordered = [...near].sort((a, b) => distance(a) - distance(b));
    const chosen = ordered.filter((box, place) => {
      left -= scenes(box);
      return left >= 0 || place === 0;
    });
    for (const box of document.querySelectorAll("figure.turning"))
      if (!chosen.includes(box)) clear(box);
    chosen.forEach(draw);
  };

  const start = () => {
    const boxes = document.querySelectorAll("figure.turning");
    if (!boxes.length) return;
    document.documentElement.classList.add("turns");
    const watch = new IntersectionObserver(
      (changes) => {
        for (const { target, isIntersecting } of changes)
          near[isIntersecting ? "add" : "delete"](target);
        arrange();
      },
      { rootMargin: "500px" },
    );
    boxes.forEach((box) => watch.observe(box));
  };
  // Paper is white, whatever the screen is.
  const root = document.documentElement.dataset;
  let theme;
  addEventListener("beforeprint", () => {
    theme = root.theme;
    root.theme = "light";
  });
  addEventListener("afterprint", () => (root.theme = theme));

  if (document.readyState === "loading")
    document.addEventListener("DOMContentLoaded", start);
  else start();
})();
