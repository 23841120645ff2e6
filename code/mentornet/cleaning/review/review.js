// The review tool: one sample at a time, decided by button or key, beside a list of all of them.

const PER_PAGE = 48;  // Thumbnails in the document at once.
const SMALL = 96;  // Pixels per side up to which images are shown with sharp pixels.
const $ = (id) => document.getElementById(id);

/** An element with text (never HTML) and a class. */
function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Seconds as people say it. */
function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

class Review {
  constructor() {
    this.samples = new Samples();
    this.store = new Store(this.samples.data.key, () => {
      this.refilter(this.current ?? 0);
      this.show();
    });
    this.filter = { classNumber: null, score: 0, state: "all" };
    this.current = null;  // The place of the sample shown; null if none matches.
    this.listed = [];  // Places that match the filter.
    this.pageShown = null;  // What the list was built from, see `showList`.
    this.fillClassFilter();
    this.listen();
    this.refilter();
    this.toUndecided();
    $("review").hidden = false;
    this.show();
    const made = this.numDecided();
    if (made) this.say(`${made} decisions restored from an earlier visit.`);
  }

  decisionAt(place) {
    return this.store.decisions[this.samples.ids[place]];
  }

  numDecided() {
    return this.samples.ids.filter((id) => Object.hasOwn(this.store.decisions, id)).length;
  }

  className(label) {
    return label === NOT_USABLE ? "not usable" : this.samples.classes[label];
  }

  /** Shown, and read out by a screen reader. */
  say(text) {
    $("message").textContent = text;
  }

  // --- Deciding ---

  /** Decides the current sample and goes on to the next one that is undecided. */
  decide(corrected) {
    const place = this.current;
    if (place === null) return;
    const decision = this.samples.decision(place, corrected);
    this.store.change([[this.samples.ids[place], decision]], Date.now());
    const done = this.describe(decision);
    const position = this.listed.indexOf(place);
    const order = [...this.listed.slice(position + 1), ...this.listed.slice(0, position)];
    const next = order.find((other) => !this.decisionAt(other));
    this.refilter(next ?? place);
    this.show();
    const text = next === undefined ? "All that match the filter are decided." : this.announcement();
    this.say(`${done}. ${text}`);
  }

  accept() {
    const place = this.current;
    if (place === null) return;
    if (this.samples.predicted[place] === this.samples.given[place]) {
      this.say("The suggestion is the given label: keep it, or choose another class.");
    } else {
      this.decide(this.samples.predicted[place]);
    }
  }

  withdraw() {
    if (this.current === null || !this.decisionAt(this.current)) return;
    this.store.change([[this.samples.ids[this.current], null]]);
    this.refilter(this.current);
    this.show();
    this.say("Marked as undecided.");
  }

  undo() {
    const ids = this.store.undo();
    const place = ids.map((id) => this.samples.places.get(id)).find((p) => p !== undefined);
    this.refilter(place ?? this.current);
    this.show();
    const what = ids.length > 1 ? `${ids.length} decisions` : "One decision";
    this.say(ids.length ? `${what} taken back. ${this.announcement()}` : "Nothing to undo.");
  }

  clear() {
    const ids = Object.keys(this.store.decisions);
    if (!ids.length) return;
    this.store.change(ids.map((id) => [id, null]));
    this.refilter(this.current);
    this.show();
    this.say(`${ids.length} decisions cleared; Undo brings them back.`);
  }

  describe({ given, corrected }) {
    if (corrected === NOT_USABLE) return "Not usable";
    return corrected === given
      ? `Kept ${this.className(given)}`
      : `Now ${this.className(corrected)}`;
  }

  // --- Moving ---

  announcement() {
    const place = this.current;
    if (place === null) return "";
    const [given, predicted] = [this.samples.given[place], this.samples.predicted[place]];
    const position = `${this.listed.indexOf(place) + 1} of ${this.listed.length}`;
    return `${position}: given ${this.className(given)}, suggested ${this.className(predicted)}.`;
  }

  /** Goes `steps` on in the list, as far as it reaches. */
  move(steps) {
    if (this.current === null) return;
    const position = this.listed.indexOf(this.current) + steps;
    this.go(this.listed[Math.min(Math.max(position, 0), this.listed.length - 1)]);
  }

  /** Makes the first undecided sample of the list the current one, if there is one. */
  toUndecided() {
    this.current = this.listed.find((place) => !this.decisionAt(place)) ?? this.current;
  }

  go(place) {
    const inList = $("list").contains(document.activeElement);
    this.current = place;
    this.show();
    this.say(this.announcement());
    if (inList) $("list").querySelector('[aria-current="true"]').focus();
  }

  /** Lists what matches the filter; `wanted`, or the sample after it, becomes the current one. */
  refilter(wanted = 0) {
    this.listed = this.samples.matching(this.filter, this.store.decisions);
    this.current = this.listed.find((place) => place >= wanted) ?? this.listed.at(-1) ?? null;
  }

  // --- Files ---

  save() {
    const text = correctionsCsv(this.samples, this.store.decisions);
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "corrections.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    this.say(`${Object.keys(this.store.decisions).length} decisions saved to corrections.csv.`);
  }

  async load(file) {
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      const entries = readCorrections(this.samples, text);
      if (entries.length) this.store.change(entries);
      this.refilter();
      this.toUndecided();
      this.show();
      this.say(`${entries.length} decisions loaded from ${file.name}.`);
    } catch (error) {
      const reason = error instanceof TypeError ? "It is not UTF-8 text." : error.message;
      this.say(`${file.name} cannot be used. ${reason}`);
    }
  }

  // --- Showing ---

  show() {
    this.showProgress();
    const empty = this.current === null;
    $("nothing").hidden = !empty;
    $("work").hidden = empty;
    if (empty) return;
    this.showSample();
    this.showList();
  }

  showProgress() {
    const [decided, count] = [this.numDecided(), this.samples.count];
    const elsewhere = Object.keys(this.store.decisions).length - decided;
    let text = `${decided} of ${count} decided`;
    if (elsewhere) text += ` (and ${elsewhere} in another report)`;
    const each = this.store.secondsEach;
    if (each !== null && decided < count) text += `, about ${duration(each * (count - decided))} left`;
    $("progress").max = count;
    $("progress").value = decided;
    $("progress-text").textContent = text;
    $("not-kept").hidden = this.store.isKept;
    $("undo").setAttribute("aria-disabled", String(!this.store.state.undo.length));
  }

  showSample() {
    const [{ samples }, place] = [this, this.current];
    const [given, predicted] = [samples.given[place], samples.predicted[place]];
    const decision = this.decisionAt(place);
    $("position").textContent = `${this.listed.indexOf(place) + 1} of ${this.listed.length}`;
    const picture = $("picture");
    picture.hidden = samples.areText;
    $("values").hidden = !samples.areText;
    if (samples.areText) {
      $("values").textContent = samples.content(place);
    } else {
      picture.alt = `Sample ${samples.ids[place]}`;
      picture.src = samples.image(place);
      picture.className = samples.data.image_size <= SMALL ? "small" : "";
    }
    $("given").textContent = this.className(given);
    $("predicted").textContent = this.className(predicted);
    $("score").textContent = `${Number(samples.scores[place]).toFixed(5)}, mean loss ${samples.data.losses[place]}`;
    $("name-title").textContent = samples.path(place) ? "File" : "Id";
    $("name").textContent = samples.path(place) || samples.ids[place];
    $("decided").textContent = decision ? this.describe(decision) : "not yet";
    $("keep-class").textContent = this.className(given);
    $("accept-class").textContent = given === predicted ? "" : this.className(predicted);
    $("accept").setAttribute("aria-disabled", String(given === predicted));
    $("withdraw").setAttribute("aria-disabled", String(!decision));
    const corrected = decision?.corrected;
    const other = decision && ![given, predicted, NOT_USABLE].includes(corrected);
    const pressed = { keep: corrected === given, choose: other, reject: corrected === NOT_USABLE };
    pressed.accept = corrected === predicted && given !== predicted;
    for (const [id, on] of Object.entries(pressed)) $(id).setAttribute("aria-pressed", String(!!on));
  }

  /** The page of the list that holds the current sample; built anew only if it is another one. */
  showList() {
    const number = Math.floor(this.listed.indexOf(this.current) / PER_PAGE);
    const places = this.listed.slice(number * PER_PAGE, (number + 1) * PER_PAGE);
    const pages = Math.ceil(this.listed.length / PER_PAGE);
    if (String(places) !== this.pageShown) {
      this.pageShown = String(places);
      $("list").replaceChildren(...places.map((place) => this.thumbnail(place)));
    }
    for (const button of $("list").querySelectorAll("button")) {
      const place = Number(button.dataset.place);
      const isCurrent = place === this.current;
      button.setAttribute("aria-current", String(isCurrent));
      button.tabIndex = isCurrent ? 0 : -1;  // One stop for Tab; arrows move within.
      const decision = this.decisionAt(place);
      const state = button.querySelector(".state");
      state.textContent = decision ? this.describe(decision) : "";
      const kind = decision && (decision.corrected === decision.given ? "kept" : "replaced");
      state.className = `state ${decision?.corrected === NOT_USABLE ? "rejected" : kind ?? ""}`;
    }
    $("list-title").textContent = `Suspects (${this.listed.length})`;
    $("pager").hidden = pages < 2;
    $("page-text").textContent = `Page ${number + 1} of ${pages}`;
    $("page-before").setAttribute("aria-disabled", String(number === 0));
    $("page-after").setAttribute("aria-disabled", String(number === pages - 1));
  }

  thumbnail(place) {
    const { samples } = this;
    const button = element("button");
    button.type = "button";
    button.dataset.place = place;
    const given = this.className(samples.given[place]);
    const predicted = this.className(samples.predicted[place]);
    const state = element("span", "", "state");
    const labels = element("span");
    labels.append(element("span", "given ", "unseen"), given, " → ");
    labels.append(element("span", "suggested ", "unseen"), predicted, " ");
    if (samples.areText) {
      button.append(element("span", samples.path(place) || samples.ids[place]));
    } else {
      const image = element("img", "", samples.data.image_size <= SMALL ? "small" : "");
      image.alt = "";
      image.src = samples.image(place);
      button.append(image);
    }
    button.append(labels, state);
    const item = element("li");
    item.append(button);
    return item;
  }

  // --- The dialog of classes ---

  openClasses() {
    if (this.current === null) return;
    $("class-search").value = "";
    this.showClasses();
    $("classes").showModal();
    $("class-search").focus();
  }

  showClasses() {
    const wanted = $("class-search").value.trim().toLowerCase();
    const names = [...this.samples.classes.entries()];
    const found = names.filter(([, name]) => name.toLowerCase().includes(wanted));
    // What begins with the text comes first, what is the text before that.
    const rank = ([, name]) =>
      (name.toLowerCase() === wanted ? 0 : name.toLowerCase().startsWith(wanted) ? 1 : 2);
    found.sort((a, b) => rank(a) - rank(b) || a[0] - b[0]);
    $("class-list").replaceChildren(...found.map(([number, name]) => {
      const item = element("li");
      const button = element("button", name);
      button.type = "button";
      button.addEventListener("click", () => this.chooseClass(number));
      item.append(button);
      return item;
    }));
  }

  chooseClass(number) {
    $("classes").close();
    this.decide(number);
  }

  /** Arrows move between the search field and the classes; Enter in the field takes the first. */
  onClassKey(event) {
    const buttons = [...$("class-list").querySelectorAll("button")];
    const stops = [$("class-search"), ...buttons];
    const position = stops.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && position >= 0) {
      stops[Math.min(Math.max(position + step, 0), stops.length - 1)].focus();
      event.preventDefault();
    } else if (event.key === "Enter" && position === 0) {
      buttons[0]?.click();
      event.preventDefault();
    }
  }

  // --- Events ---

  fillClassFilter() {
    const numbers = new Set([...this.samples.given, ...this.samples.predicted]);
    for (const number of [...numbers].sort((a, b) => a - b)) {
      const option = element("option", this.className(number));
      option.value = number;
      $("class-filter").append(option);
    }
  }

  onFilter() {
    const number = $("class-filter").value;
    this.filter.classNumber = number === "" ? null : Number(number);
    this.filter.score = Number($("score-filter").value);
    this.filter.state = $("state-filter").value;
    $("score-text").textContent = this.filter.score.toFixed(2);
    this.refilter();
    this.show();
    this.say(`${this.listed.length} match the filter. ${this.announcement()}`);
  }

  listen() {
    const clicks = {
      keep: () => this.decide(this.samples.given[this.current]),
      accept: () => this.accept(),
      choose: () => this.openClasses(),
      reject: () => this.decide(NOT_USABLE),
      withdraw: () => this.withdraw(),
      undo: () => this.undo(),
      save: () => this.save(),
      load: () => $("file").click(),
      clear: () => this.clear(),
      previous: () => this.move(-1),
      next: () => this.move(1),
      "page-before": () => this.move(-PER_PAGE),
      "page-after": () => this.move(PER_PAGE),
      "class-cancel": () => $("classes").close(),
    };
    for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
    for (const id of ["class-filter", "state-filter", "score-filter"]) {
      $(id).addEventListener("input", () => this.onFilter());
    }
    $("file").addEventListener("change", () => {
      if ($("file").files.length) this.load($("file").files[0]);
      $("file").value = "";  // The same file may be loaded again.
    });
    $("list").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.go(Number(button.dataset.place));
    });
    $("class-search").addEventListener("input", () => this.showClasses());
    $("classes").addEventListener("keydown", (event) => this.onClassKey(event));
    document.addEventListener("keydown", (event) => this.onKey(event));
    window.addEventListener("beforeunload", (event) => {
      if (!this.store.isKept && this.store.state.undo.length) event.preventDefault();
    });
  }

  onKey(event) {
    if ($("classes").open || event.altKey || event.metaKey) return;
    const isUndo = event.key.toLowerCase() === (event.ctrlKey ? "z" : "u");
    if (event.ctrlKey && !isUndo) return;
    const { target } = event;
    // A closed dialog's field keeps the focus until the next frame, in which keys may come.
    if (target.closest("select, input:not([type=checkbox], dialog *)")) {
      const isDigit = target.type === "range" && /^\d$/.test(event.key);
      if (event.key === "Escape") $("sample").focus();  // Out of the filter, to the keys again.
      if (!isDigit) return;
    }
    if (!$("shortcuts").checked) return;
    const keys = {
      0: "withdraw", 1: "keep", 2: "accept", 3: "choose", 4: "reject", s: "save",
      ArrowLeft: "previous", ArrowRight: "next",
    };
    const name = isUndo ? "undo" : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!name || target.closest(".scroll")) return;  // A table scrolls by arrows.
    event.preventDefault();
    // A key held down goes on through the list, but decides one sample only.
    if (event.repeat && !event.key.startsWith("Arrow")) return;
    if (this.current !== null || ["undo", "save"].includes(name)) $(name).click();
  }
}

new Review();
