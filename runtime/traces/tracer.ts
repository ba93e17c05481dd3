import type { Logger } from '../log/log';
import type { Exporter } from './export';

/** Where a program's spans go. Whoever begins a trace is given one; what begins inside of it goes the same way. */
export interface Tracer {
  /** Without one, there are places in traces for logs and for others, and no records. */
  exporter?: Exporter | undefined;
  /** Is told of calls to other services. */
  log: Logger;
}
