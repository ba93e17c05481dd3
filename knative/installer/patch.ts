/** An operation of a JSON patch (RFC 6902). */
export interface Operation {
  op: 'test' | 'replace' | 'add' | 'remove';
  /** A JSON pointer (RFC 6901). */
  path: string;
  /** Of all but `remove`. */
  value?: unknown;
}

/** What a kustomization changes in the objects that `target` selects. */
export interface Patch {
  target: object;
  operations: Operation[];
}
