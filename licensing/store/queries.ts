export type Value = string | number | boolean | Date | Buffer | null;

/** Runs statements. Parameters are $1, $2, …: a value never becomes part of the text. */
export interface Queries {
  query<Row extends object>(text: string, values?: readonly Value[]): Promise<Row[]>;
}
