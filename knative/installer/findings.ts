/** What was found about one thing that the installation needs. */
export interface Finding {
  /** In a word or two: what was looked at. */
  about: string;
  /** `warning`: it may work, or can't be seen from here. */
  state: 'ok' | 'warning' | 'wrong';
  /** What was found; expected and got, where it isn't ok. */
  found: string;
  /** What to do about it; never where it is ok. */
  todo?: string;
}

/** As a check gives it: what it was about is known to whoever asked. */
export type Found = Omit<Finding, 'about'>;

export const ok = (found: string): Found => ({ state: 'ok', found });
export const warning = (found: string, todo: string): Found => ({ state: 'warning', found, todo });
export const wrong = (found: string, todo: string): Found => ({ state: 'wrong', found, todo });

/** One line. */
export function describeFinding({ about, state, found, todo }: Finding): string {
  const line = `${state.padEnd(7)}  ${about.padEnd(14)}  ${found}`.replace(/\s*\n\s*/g, ' ');
  return todo === undefined ? line : `${line}; ${todo}`;
}
