// Decisions, and where they are kept.

const NOT_USABLE = -1;  // In place of a class.
const MAX_UNDO = 1000;
const LONGEST_PAUSE = 120;  // Seconds; who takes longer has been away.

/**
 * What was decided on one data set, kept in the browser under a key that names data and labels.
 *
 * A decision is {given, corrected, score, path}: classes by number (NOT_USABLE for none), the score
 * as text. It holds all that corrections.csv needs, so that decisions made in another report of the
 * same data, which may show other samples, are saved, too. Pages from disk share one storage in
 * some browsers, and one page may be open twice: each change starts from what is stored.
 */
class Store {
  /** `onChange` is called when another page changed what is stored. */
  constructor(key, onChange) {
    this.key = `mentornet-review-${key}`;
    this.isKept = true;  // Whether the browser keeps what is written.
    this.state = { decisions: {}, undo: [], seconds: [] };
    this.lastChange = null;
    this.read();
    this.write();  // Shows at once whether it can be kept.
    window.addEventListener("storage", (event) => {
      if (event.key !== this.key) return;
      this.read();
      onChange();
    });
  }

  get decisions() {
    return this.state.decisions;
  }

  /** Takes over what is stored; nothing changes where that cannot be read. */
  read() {
    try {
      const state = JSON.parse(localStorage.getItem(this.key));
      const whole = state && typeof state.decisions === "object";
      if (whole && Array.isArray(state.undo) && Array.isArray(state.seconds)) this.state = state;
    } catch {
      // No storage, or not ours: what is in memory stays.
    }
  }

  write() {
    try {
      localStorage.setItem(this.key, JSON.stringify(this.state));
      this.isKept = true;
    } catch {
      this.isKept = false;
    }
  }

  /**
   * Sets decisions, [[id, decision or null], ...], as one step that can be undone. `now`, in ms, is
   * given where a person just decided one sample.
   */
  change(entries, now = null) {
    if (this.isKept) this.read();
    if (now !== null) this.tick(now);
    const { decisions, undo } = this.state;
    undo.push(entries.map(([id]) => [id, decisions[id] ?? null]));
    undo.splice(0, undo.length - MAX_UNDO);
    this.apply(entries);
    this.write();
  }

  /** Takes the last step back; returns the ids that it was about. */
  undo() {
    if (this.isKept) this.read();
    const entries = this.state.undo.pop() ?? [];
    this.apply(entries);
    this.state.seconds.pop();
    this.lastChange = null;
    this.write();
    return entries.map(([id]) => id);
  }

  apply(entries) {
    for (const [id, decision] of entries) {
      if (decision === null) delete this.state.decisions[id];
      else this.state.decisions[id] = decision;
    }
  }

  /** Notes how long a decision took, for `secondsEach`. */
  tick(now) {
    const passed = this.lastChange === null ? null : (now - this.lastChange) / 1000;
    this.lastChange = now;
    if (passed !== null && passed < LONGEST_PAUSE) {
      this.state.seconds = [...this.state.seconds, Number(passed.toFixed(2))].slice(-20);
    }
  }

  /** Median seconds of the last decisions; null after fewer than three. */
  get secondsEach() {
    const seconds = [...this.state.seconds].sort((a, b) => a - b);
    return seconds.length < 3 ? null : seconds[Math.floor(seconds.length / 2)];
  }
}
