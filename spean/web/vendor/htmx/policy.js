// Lets htmx work under `require-trusted-types-for 'script'` and without eval, and without a nonce.
// Answers come from our own origin only (config "mode":"same-origin"), escaped where they were made; scripts in them are emptied.
(() => {
  "use strict";
  const refused = function () {
    throw new Error("htmx may not run text as code: no hx-on, no js: values, no filters in hx-trigger");
  };
  const rules = { createHTML: (text) => text, createScript: () => "" };
  const policy = window.trustedTypes ? window.trustedTypes.createPolicy("htmx", rules) : rules;
  htmx.registerExtension("trusted", { init: (api) => api.initSecurity(policy, refused, refused) });
})();
