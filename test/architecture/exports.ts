import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { root } from './sources';

const parsed = new Map<string, ts.SourceFile>();

function parse(file: string): ts.SourceFile {
  let source = parsed.get(file);
  if (!source) {
    source = ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest);
    parsed.set(file, source);
  }
  return source;
}

/** Names that a file declares and exports; what it hands on from others is not among them. */
export function exportsOf(file: string): string[] {
  return parse(file).statements.flatMap((statement) => {
    const modifiers = ts.canHaveModifiers(statement) ? ts.getModifiers(statement) : undefined;
    if (!modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) return [];
    if (ts.isVariableStatement(statement))
      return statement.declarationList.declarations.flatMap(({ name }) => (ts.isIdentifier(name) ? [name.text] : []));
    const { name } = statement as ts.DeclarationStatement;
    return name && ts.isIdentifier(name) ? [name.text] : [];
  });
}

/** What a file takes from others of ours: `FILE NAME`, or `FILE *` where it takes all of it. */
export function usesOf(file: string): string[] {
  const uses: string[] = [];
  const use = (specifier: ts.Node | undefined, names: readonly string[]): void => {
    if (!specifier || !ts.isStringLiteral(specifier) || !specifier.text.startsWith('.')) return;
    const target = relative(root, resolve(root, dirname(file), specifier.text));
    const found = existsSync(join(root, `${target}.ts`)) ? `${target}.ts` : `${target}/index.ts`;
    uses.push(...names.map((name) => `${found} ${name}`));
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const bindings = node.importClause?.namedBindings;
      use(
        node.moduleSpecifier,
        bindings && ts.isNamedImports(bindings)
          ? bindings.elements.map(({ propertyName, name }) => (propertyName ?? name).text)
          : ['*'],
      );
    } else if (ts.isExportDeclaration(node)) {
      const { exportClause } = node;
      use(
        node.moduleSpecifier,
        exportClause && ts.isNamedExports(exportClause)
          ? exportClause.elements.map(({ propertyName, name }) => (propertyName ?? name).text)
          : ['*'],
      );
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      use(node.arguments[0], ['*']);
    } else if (ts.isCallExpression(node)) {
      // require(…), jest.requireActual(…)
      node.arguments.forEach((argument) => use(argument, ['*']));
    } else if (ts.isImportTypeNode(node)) {
      use(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined, ['*']);
    }
    ts.forEachChild(node, visit);
  };
  visit(parse(file));
  return uses;
}
