import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { root } from './sources';

/** Makes a log. */
const LOG_MAKERS = new Set(['createLogger', 'pino']);

/**
 * What a module does as soon as it is imported and should not: reads the environment, makes a log, or keeps what would be every caller's. Functions are
 * left out, since they do nothing by being there; their parameters' defaults as well.
 */
export function globalsOf(file: string, text = readFileSync(join(root, file), 'utf8')): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const note = (node: ts.Node, what: string): void => {
    found.push(`${file}:${source.getLineAndCharacterOfPosition(node.getStart()).line + 1} ${what}`);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) return;
    // Fields of an instance are made with it; those of the class with the module.
    if (ts.isPropertyDeclaration(node) && !node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.StaticKeyword))
      return;
    if (ts.isPropertyAccessExpression(node) && node.getText() === 'process.env') note(node, 'reads the environment');
    if (ts.isCallExpression(node) && LOG_MAKERS.has(node.expression.getText())) note(node, 'makes a log');
    if (ts.isNewExpression(node) && ['WeakMap', 'WeakSet'].includes(node.expression.getText()))
      note(node, 'keeps something of its callers');
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}
