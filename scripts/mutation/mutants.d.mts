export interface Mutant {
  /** Of the expression that becomes `text`, in characters of the source. */
  start: number;
  end: number;
  text: string;
  line: number;
  /** Names the mutant within its file, whatever its line. */
  what: string;
}

export function mutantsOf(file: string, source: string): Mutant[];
export function withMutants(source: string, mutants: readonly Mutant[], numbers: readonly number[]): string;
