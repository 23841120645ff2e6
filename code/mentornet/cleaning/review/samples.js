// The samples of the page and their images, from the page's JSON blocks.

const CHUNKS_KEPT = 3;  // Decoded blocks of images; the others stay text in the page.

function readBlock(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

/** Columns of the samples, the most suspicious first; a sample is its place in them. */
class Samples {
  constructor() {
    this.data = readBlock("review-data");
    this.classes = this.data.classes;
    this.ids = this.data.ids;
    this.given = this.data.given;
    this.predicted = this.data.predicted;
    this.scores = this.data.scores;  // As text; how likely the given label is wrong, 0..1.
    this.places = new Map(this.ids.map((id, place) => [id, place]));
    this.chunks = new Map();
  }

  get count() {
    return this.ids.length;
  }

  path(place) {
    return this.data.paths ? this.data.paths[place] : "";
  }

  /** Whether samples are rows of features, described in words. */
  get areText() {
    return this.data.image_type === null;
  }

  /** The image as a data URL. */
  image(place) {
    return `data:${this.data.image_type};base64,${this.content(place)}`;
  }

  /** An image in base64, or a row's description. Few blocks are kept, so that memory does not grow with the page. */
  content(place) {
    const number = Math.floor(place / this.data.chunk);
    let chunk = this.chunks.get(number);
    this.chunks.delete(number);  // Inserted again below, as the latest used.
    chunk ??= readBlock(`images-${number}`);
    this.chunks.set(number, chunk);
    for (const oldest of this.chunks.keys()) {
      if (this.chunks.size <= CHUNKS_KEPT) break;
      this.chunks.delete(oldest);
    }
    return chunk[place % this.data.chunk];
  }

  /** Places that match a filter {classNumber or null, score, state} under the decisions made. */
  matching({ classNumber, score, state }, decisions) {
    const places = [];
    for (let place = 0; place < this.count; place += 1) {
      const { corrected } = decisions[this.ids[place]] ?? {};
      const classes = [this.given[place], this.predicted[place], corrected];
      if (classNumber !== null && !classes.includes(classNumber)) continue;
      if (Number(this.scores[place]) < score) continue;
      if (state === "undecided" && corrected !== undefined) continue;
      if (state === "decided" && corrected === undefined) continue;
      places.push(place);
    }
    return places;
  }

  /** The decision on a sample as it is stored. */
  decision(place, corrected) {
    const [given, score, path] = [this.given[place], this.scores[place], this.path(place)];
    return { given, corrected, score, path };
  }
}

const COLUMNS = ["id", "path", "given_label", "corrected_label", "score"];

/** corrections.csv: every decided sample, those of this page first and in its order. */
function correctionsCsv(samples, decisions) {
  const elsewhere = Object.keys(decisions).filter((id) => !samples.places.has(id));
  const here = samples.ids.filter((id) => Object.hasOwn(decisions, id));
  const name = (label) => (label === NOT_USABLE ? "" : samples.classes[label]);
  const rows = [...here, ...elsewhere].map((id) => {
    const { given, corrected, score, path } = decisions[id];
    return [id, path, name(given), name(corrected), score];
  });
  return toCsv([COLUMNS, ...rows]);
}

/**
 * The decisions, [[id, decision], ...], of a corrections.csv about the same data.
 * Throws an Error that says what is wrong; a file is taken as a whole or not at all.
 */
function readCorrections(samples, text) {
  const [header = [], ...rows] = parseCsv(text);
  const missing = COLUMNS.filter((name) => !header.includes(name));
  if (missing.length) throw new Error(`The columns ${missing.join(", ")} are missing.`);
  const numbers = new Map(samples.classes.map((name, number) => [name, number]));
  const entries = new Map();
  rows.forEach((cells, i) => {
    const row = Object.fromEntries(header.map((name, column) => [name, cells[column] ?? ""]));
    const where = `Row ${i + 2}, id ${row.id}`;
    const label = (name) => {
      if (!numbers.has(name)) throw new Error(`${where}: there is no class "${name}".`);
      return numbers.get(name);
    };
    if (!/^-?\d+$/.test(row.id)) throw new Error(`${where}: the id must be a whole number.`);
    const given = label(row.given_label);
    const corrected = row.corrected_label === "" ? NOT_USABLE : label(row.corrected_label);
    const place = samples.places.get(row.id);
    if (place !== undefined && samples.given[place] !== given) {
      throw new Error(`${where}: given as "${row.given_label}", here as ` +
        `"${samples.classes[samples.given[place]]}". The file belongs to other data.`);
    }
    if (entries.has(row.id) && entries.get(row.id).corrected !== corrected) {
      throw new Error(`${where}: decided in two ways.`);
    }
    entries.set(row.id, { given, corrected, score: row.score, path: row.path });
  });
  if (rows.length && ![...entries.keys()].some((id) => samples.places.has(id))) {
    throw new Error("None of its samples is in this page.");
  }
  return [...entries];
}
