// The sample view: one prompt and its answers, their tokens coloured by what the reader asks for.
// Everything that a model wrote reaches the page as text, never as markup.
(async () => {
  const view = document.getElementById("samples");
  if (!view) return;
  const shown = view.querySelector(".shown");
  let data;
  try {
    data = await unpacked("sample-data");
  } catch (problem) {
    shown.textContent = "This browser cannot unpack the samples.";
    console.error(problem);
    return;
  }
  const { layers, samples } = JSON.parse(data);
  const choice = view.querySelector("select");
  const facts = document.getElementById("token-facts");
  const legend = view.querySelector(".legend");
  const answers = samples.flatMap((sample) => sample.answers);
  let pointed = null;

  const depths = answers.flatMap((answer) => answer.layers ?? []);
  const least = depths.reduce((one, other) => Math.min(one, other), layers - 1);
  const ways = {
    layers: {
      name: "layers run",
      known: (answer) => answer.layers,
      share: (answer, place) => (layers - answer.layers[place]) / (layers - least),
      ends: [`all ${layers} layers`, `${least}`],
    },
    drafted: {
      name: "drafted or verified",
      known: (answer) => answer.drafted,
      kind: (answer, place) => (answer.drafted[place] ? "drafted" : "verified"),
      kinds: { drafted: "drafted, and accepted", verified: "the full model's own" },
    },
    confidences: {
      name: "confidence",
      known: (answer) => answer.confidences,
      share: (answer, place) => answer.confidences[place],
      ends: ["0", "1"],
    },
    ms: {
      name: "time",
      known: (answer) => answer.ms,
      share: (answer, place) => took(answer, place) / slowest,
      ends: ["0 ms", ""],
    },
  };
  const slowest = percentile(
    answers.filter(ways.ms.known).flatMap((answer) => answer.ms.map((_, place) => took(answer, place)).slice(1)),
    0.98,
  ) || 1;
  ways.ms.ends[1] = `${slowest.toPrecision(3)} ms or more`;

  const offered = Object.keys(ways).filter((way) => answers.some(ways[way].known));
  const varied = answers.some((answer) => answer.layers && new Set(answer.layers).size > 1);
  let way = offered.includes("drafted") && !varied ? "drafted" : offered[0];
  const radios = view.querySelector(".ways");
  for (const each of offered) {
    const label = document.createElement("label");
    const radio = Object.assign(document.createElement("input"), {
      type: "radio", name: "way", value: each, checked: each === way,
    });
    radio.addEventListener("change", () => { way = each; show(); });
    label.append(radio, ways[each].name);
    radios.append(label);
  }
  radios.hidden = !offered.length;

  samples.forEach((sample, place) => choice.append(new Option(sample.name, place)));
  choice.addEventListener("change", show);
  for (const [name, by] of [["earlier", -1], ["later", 1]]) {
    view.querySelector(`.${name}`).addEventListener("click", () => {
      choice.selectedIndex = (choice.selectedIndex + by + samples.length) % samples.length;
      show();
    });
  }
  shown.addEventListener("pointerover", point);
  addEventListener("click", point);
  shown.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") leave(); });
  addEventListener("scroll", place, { passive: true, capture: true });
  show();
  view.dataset.ready = "";

  function show() {
    leave();
    const sample = samples[choice.selectedIndex];
    shown.replaceChildren(
      element("h3", "", "The prompt's end"),
      element("pre", "prompt", sample.prompt),
      element("div", "answers"),
    );
    for (const answer of sample.answers) {
      const box = element("div");
      const label = element("h3");
      answer.label.split(/(?<=[,:])/).forEach((part) => label.append(part, element("wbr")));
      box.append(label, element("p", "quiet", answer.facts));
      box.append("error" in answer ? element("p", "bad", answer.error) : written(answer));
      shown.lastChild.append(box);
    }
    const prompt = shown.querySelector(".prompt");
    prompt.scrollTop = prompt.scrollHeight;
    explain();
  }

  function written(answer) {
    const text = element("pre", "tokens");
    if (!answer.texts) {
      text.append(answer.text.slice(0, answer.shared));
      if (answer.shared < answer.text.length) {
        text.append(element("mark", "parting", answer.text.slice(answer.shared)));
      }
      return text;
    }
    answer.texts.forEach((piece, place) => {
      const token = element("span", "token");
      // What cannot be seen can be pointed at all the same.
      const lines = (piece || "·").split("\n");
      lines.forEach((line, number) => {
        if (number) token.append(Object.assign(element("i", "", "↵")), "\n");
        token.append(line);
      });
      if (!piece) token.classList.add("silent");
      if (place === answer.shared) token.classList.add("parting");
      if (ways[way]?.known(answer)) {
        if (ways[way].kind) token.classList.add(ways[way].kind(answer, place));
        else {
          const share = ways[way].share(answer, place);
          if (share !== null) {
            token.classList.add("shaded");
            token.style.setProperty("--share", `${Math.max(0, Math.min(1, share)) * 100}%`);
          }
        }
      }
      token.facts = [answer, place];
      text.append(token);
    });
    return text;
  }

  function explain() {
    legend.replaceChildren();
    const { kinds, ends } = ways[way] ?? {};
    for (const [kind, words] of Object.entries(kinds ?? {})) {
      const line = element("span", "", words);
      line.prepend(element("i", `key ${kind}`));
      legend.append(line);
    }
    if (ends) legend.append(ends[0], element("i", "scale"), ends[1]);
  }

  function point(event) {
    const token = event.target.closest?.(".token");
    if (!token) return event.type === "click" ? leave() : undefined;
    if (token === pointed) return;
    leave();
    pointed = token;
    token.classList.add("pointed");
    facts.replaceChildren(...told(...token.facts).map((line) => element("div", "", line)));
    facts.hidden = false;
    place();
  }

  function place() {
    if (!pointed) return;
    const [first] = pointed.getClientRects();
    const { width, height } = facts.getBoundingClientRect();
    const page = document.documentElement;
    const below = first.bottom + 6 + height <= page.clientHeight;
    facts.style.left = `${Math.max(8, Math.min(first.left, page.clientWidth - width - 8))}px`;
    facts.style.top = `${below ? first.bottom + 6 : first.top - height - 6}px`;
  }

  function leave() {
    pointed?.classList.remove("pointed");
    pointed = null;
    facts.hidden = true;
  }

  function told(answer, place) {
    const lines = [`token ${place + 1} of ${answer.texts.length}: ${JSON.stringify(answer.texts[place])}`];
    if (answer.layers) lines.push(`layers run: ${answer.layers[place]} of ${layers}`);
    if (answer.drafted) lines.push(ways.drafted.kinds[ways.drafted.kind(answer, place)]);
    if (answer.confidences?.[place] != null) lines.push(`confidence: ${answer.confidences[place]}`);
    if (answer.ms) {
      const since = place ? `, ${took(answer, place).toFixed(1)} ms after the token before` : " to the first token";
      lines.push(`time: ${answer.ms[place]} ms${since}`);
    }
    if (answer.shared === place) lines.push("here it parts from the baseline's");
    return lines;
  }

  function took(answer, place) {
    return place ? answer.ms[place] - answer.ms[place - 1] : answer.ms[0];
  }

  function percentile(values, share) {
    return values.sort((one, other) => one - other)[Math.floor(share * (values.length - 1))];
  }

  function element(name, className = "", text = "") {
    return Object.assign(document.createElement(name), { className, textContent: text });
  }
})();
