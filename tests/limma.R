# Made the figures of tests/limma.json: Rscript tests/limma.R > tests/limma.json (Debian's
# r-bioc-limma and nothing else). Variances are made by a rule, not drawn, so that they are the same
# everywhere.
suppressWarnings(suppressMessages(library(limma)))

spread_out <- function(count, df, prior_df, scale) {
  at <- (seq_len(count) * 0.6180339887498949) %% 1
  scale * qf(at, df, prior_df)
}
cases <- list(
  equal = list(var = spread_out(24, 2, 1.5, 0.5), df = rep(2, 24)),
  unequal = list(var = spread_out(24, 4, 2, 0.2), df = rep(c(2, 4, 11), 8)),
  alike = list(var = 0.3 * qchisq((1:10 - 0.5) / 10, 4) / 4 * 0.5 + 0.2, df = rep(4, 10)),
  alike_unequal = list(var = 0.3 + 0.01 * (1:9), df = rep(c(2, 4, 7), 3)),
  zeros = list(var = c(0, 0, spread_out(7, 2, 8, 0.04)), df = rep(2, 9)),
  wild = list(var = 10^seq(-6, 3), df = rep(2, 10)),
  few = list(var = c(0.001, 0.7, 0.2, 0.4), df = c(2, 2, 4, 2))
)
number <- function(x) ifelse(is.infinite(x), '"inf"', formatC(x, digits = 17, format = "g"))
array <- function(x) paste0("[", paste(number(x), collapse = ", "), "]")
shown <- sapply(names(cases), function(name) {
  case <- cases[[name]]
  squeezed <- suppressWarnings(squeezeVar(case$var, case$df))
  # A fit of one mean a row: sigma^2 = var, so that eBayes' own degrees of freedom can be seen.
  fit <- list(coefficients = cbind(rep(1, length(case$var))), sigma = sqrt(case$var),
              df.residual = case$df, stdev.unscaled = cbind(rep(1, length(case$var))))
  total <- suppressWarnings(eBayes(new("MArrayLM", fit)))$df.total
  sprintf('  "%s": {"variances": %s, "dfs": %s,\n    "prior_df": %s, "prior_variance": %s,\n    "posterior": %s,\n    "total_df": %s}',
    name, array(case$var), array(case$df), number(squeezed$df.prior), number(squeezed$var.prior),
    array(squeezed$var.post), array(total))
})
cat("{\n", sprintf('  "limma": "%s",\n', packageVersion("limma")), paste(shown, collapse = ",\n"), "\n}\n", sep = "")
