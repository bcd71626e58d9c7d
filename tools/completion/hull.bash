# bash completion for hull: the program itself knows its words, so that this file never lags behind.
_hull() {
  local candidates
  mapfile -t candidates < <(hull complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  COMPREPLY=("${candidates[@]}")
  # Where the program has nothing to say the word is a file.
  [[ ${#COMPREPLY[@]} -gt 0 ]] || compopt -o default
}
complete -F _hull hull
