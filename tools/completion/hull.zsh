#compdef hull hull-img
# zsh completion for hull and hull-img; see hull.bash.
_hull() {
  local -a given whole begun
  local line files=
  given=("${(@Q)words[2,CURRENT]}")
  [[ $service != hull-img ]] || given=(img "${given[@]}")
  for line in "${(@f)$(hull complete -- "${given[@]}" 2>/dev/null)}"; do
    case $line in
      '') ;;
      @*) files=$line ;;
      *[=:,]) begun+=("$line") ;;
      *) whole+=("$line") ;;
    esac
  done
  [[ -z $whole ]] || compadd -- "${whole[@]}"
  [[ -z $begun ]] || compadd -S '' -- "${begun[@]}"
  [[ -n $files ]] || return 0
  compset -p ${files#* }
  if [[ $files == @directories* ]]; then _files -/; else _files; fi
}
_hull "$@"
