/* What can be said without an engine: the version, and a model's header. */
#include "runtime.h"

const char *ms_version (void) {
  return MS_VERSION;
}

ms_status ms_probe (const char *path, ms_model_info *info, ms_error *err) {
  model *m = NULL;
  if (path == NULL) return fail(err, MS_EINVAL, "no path is given");
  TRY(model_open(path, MS_MAP, &m, err));
  model_describe(m, info);
  model_close(m);
  return MS_OK;
}
