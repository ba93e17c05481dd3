/** The native part of node-pty (pty.node), which its own types leave out. */
declare module '@lydell/node-pty/requireBinary.js' {
  interface Pty {
    /** forkpty(3) and exec. @param env NAME=VALUE @param exited is told once, from a thread that waits for the child */
    fork(
      file: string,
      argv: string[],
      env: string[],
      directory: string,
      columns: number,
      rows: number,
      uid: number,
      gid: number,
      utf8: boolean,
      helper: string,
      exited: (code: number, signal: number) => void,
    ): { fd: number; pid: number; pty: string };
    /** openpty(3). Both sides don't block, and aren't closed by exec. @returns descriptors, and the path of the slave */
    open(columns: number, rows: number): { master: number; slave: number; pty: string };
    /** TIOCSWINSZ. */
    resize(fd: number, columns: number, rows: number): void;
  }
  export function requireBinary(file: 'pty.node'): Pty;
}
