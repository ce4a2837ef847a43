import { OptionDefaults } from "typedoc";

/** @type {import("typedoc").TypeDocOptions} */
export default {
  entryPoints: ["src/index.ts", "src/node.ts"],
  tsconfig: "tsconfig.build.json",
  readme: "none",
  emit: "none",
  out: "../../build/typescript-docs",
  blockTags: [...OptionDefaults.blockTags, "@generated"],
  excludeInternal: true,
  excludePrivate: true,
  // Links to the source would need a git remote.
  disableSources: true,
  validation: { invalidLink: true, notDocumented: true, notExported: false },
  treatWarningsAsErrors: true,
};
