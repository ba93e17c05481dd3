/** Things that wait, of many owners, who take turns: however many one of them has here, what another one brings waits for few. */
export class FairQueue<T> {
  /** Each owner's, the oldest first; the owner whose turn it is comes first. */
  private readonly waiting = new Map<string, T[]>();
  private count = 0;

  constructor(private readonly most: number) {}

  get length(): number {
    return this.count;
  }

  /**
   * @returns false where there is no room, because nobody else has more here; and what had to go for it, the newest of the owner who has the most
   */
  push(thing: T, owner: string): { taken: boolean; gone?: T } {
    const own = this.waiting.get(owner) ?? [];
    let gone: T | undefined;
    if (this.count >= this.most) {
      const [greediest, theirs] = [...this.waiting].reduce(
        (one, other) => (other[1].length > one[1].length ? other : one),
        ['', []] as [string, T[]],
      );
      if (theirs.length <= own.length + 1) return { taken: false };
      gone = theirs.pop();
      this.count -= 1;
      if (theirs.length === 0) this.waiting.delete(greediest);
    }
    own.push(thing);
    this.count += 1;
    this.waiting.set(owner, own);
    return { taken: true, ...(gone !== undefined && { gone }) };
  }

  /**
   * Of the owner whose turn it is, the oldest; undefined where nothing waits.
   * @param may whether it can be an owner's turn at all; every owner's, unless told
   */
  shift(may: (owner: string) => boolean = () => true): T | undefined {
    for (const [owner, things] of this.waiting) {
      if (!may(owner)) continue;
      const thing = things.shift();
      this.waiting.delete(owner);
      if (things.length > 0) this.waiting.set(owner, things);
      this.count -= 1;
      return thing;
    }
    return undefined;
  }

  /** @returns false where it doesn't wait (any more) */
  remove(thing: T, owner: string): boolean {
    const things = this.waiting.get(owner);
    const position = things?.indexOf(thing) ?? -1;
    if (!things || position === -1) return false;
    things.splice(position, 1);
    if (things.length === 0) this.waiting.delete(owner);
    this.count -= 1;
    return true;
  }
}
